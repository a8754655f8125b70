//! Name of a device, and how much of its memory is free.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use candle_core::Device;

use crate::weights::bytes_mapped;

/// Bytes that this process can still allocate on the device; none if that is unknown.
pub(crate) fn free(device: &Device) -> Option<u64> {
    match device {
        Device::Cpu => host(Path::new("/proc"), Path::new("/sys/fs/cgroup"), bytes_mapped()),
        Device::Cuda(_) => cuda(device),
        Device::Metal(_) => None,
    }
}

/// What the driver reports as free, plus what the allocator keeps for reuse.
#[cfg(feature = "cuda")]
fn cuda(device: &Device) -> Option<u64> {
    crate::pool::give_back(device).ok()?;
    let stream = device.as_cuda_device().ok()?.cuda_stream();
    stream.context().mem_get_info().ok().map(|(free, _)| free as u64)
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Device) -> Option<u64> {
    None
}

/// The driver's name for the card; none if it has no name.
#[cfg(feature = "cuda")]
pub(crate) fn card(device: &Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn card(_: &Device) -> Option<String> {
    None
}

/// What the machine has free, or this process' control groups if that is less. `mapped` bytes of files are in use,
/// although the kernel counts them as available.
fn host(processes: &Path, groups: &Path, mapped: u64) -> Option<u64> {
    let machine = available(&read_to_string(processes.join("meminfo")).ok()?)?.saturating_sub(mapped);
    let membership = read_to_string(processes.join("self/cgroup")).unwrap_or_default();
    let left = membership.lines().flat_map(|line| group_left(line, groups, mapped));
    Some(left.fold(machine, u64::min))
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a group and its ancestors have free, from a line `number:controllers:path`. A group that cannot be read sets no
/// limit: a container may see only its own group, at the root.
fn group_left(membership: &str, groups: &Path, mapped: u64) -> Vec<u64> {
    let mut parts = membership.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, names): (PathBuf, _) = match controllers {
        // Version 2: one tree of groups for all controllers.
        "" => (groups.to_owned(), ["memory.max", "memory.current"]),
        // Version 1: a tree for each controller.
        _ if controllers.split(',').any(|name| name == "memory") => {
            (groups.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes"])
        }
        _ => return Vec::new(),
    };
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().filter_map(|group| left(&root.join(group), names, mapped)).collect()
}

fn left(group: &Path, [limit, usage]: [&str; 2], mapped: u64) -> Option<u64> {
    let number = |file| read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    // Without a limit, version 2 has `max`, and version 1 a number larger than any machine.
    let (limit, usage) = (number(limit)?, number(usage)?);
    // The kernel reclaims inactive pages of files before it refuses memory.
    let stat = read_to_string(group.join("memory.stat")).unwrap_or_default();
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
    let files = files.unwrap_or(0).saturating_sub(mapped);
    Some(limit.saturating_sub(usage.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with 8 GiB free and a process in the groups of `membership`.
    fn machine(membership: &str, files: &[(&str, &str)]) -> Option<u64> {
        machine_with(membership, files, 0)
    }

    /// The same with `mapped` bytes of mapped files.
    fn machine_with(membership: &str, files: &[(&str, &str)], mapped: u64) -> Option<u64> {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:  9999999 kB\nMemAvailable:    8388608 kB\n");
        write("proc/self/cgroup", membership);
        files.iter().for_each(|(path, text)| write(path, text));
        host(&folder.path().join("proc"), &folder.path().join("groups"), mapped)
    }

    #[test]
    fn the_tightest_limit_counts() {
        assert_eq!(machine("0::/\n", &[]), Some(8 << 30), "no limit is visible");
        let outer = [("groups/a/memory.max", "3000\n"), ("groups/a/memory.current", "1000\n")];
        assert_eq!(machine("0::/a/b\n", &outer), Some(2000), "that of the group above");
        let inner = [("groups/a/b/memory.max", "max\n"), ("groups/a/b/memory.current", "10\n")];
        assert_eq!(machine("0::/a/b\n", &[outer, inner].concat()), Some(2000));
        let stat = [("groups/a/memory.stat", "anon 5\ninactive_file 600\nactive_file 7\n")];
        assert_eq!(machine("0::/a/b\n", &[&outer[..], &stat].concat()), Some(2600));
    }

    #[test]
    fn mapped_files_are_not_free() {
        assert_eq!(machine_with("0::/\n", &[], 3 << 30), Some(5 << 30));
        let files = [("groups/a/memory.max", "3000\n"), ("groups/a/memory.current", "1500\n")];
        let stat = |inactive: u64| format!("anon 5\ninactive_file {inactive}\n");
        let left = |inactive| {
            let stat = stat(inactive);
            machine_with("0::/a\n", &[&files[..], &[("groups/a/memory.stat", stat.as_str())]].concat(), 400)
        };
        assert_eq!(left(600), Some(1700), "of the files that could go, 400 bytes may not");
        assert_eq!(left(100), Some(1500), "those that are used were not among them");
    }

    #[test]
    fn older_groups_are_read_too() {
        let files = [
            ("groups/memory/a/memory.limit_in_bytes", "5000\n"),
            ("groups/memory/a/memory.usage_in_bytes", "6000\n"),
        ];
        assert_eq!(machine("5:devices:/\n4:cpu,memory:/a\n0::/\n", &files), Some(0), "over its limit");
        assert_eq!(machine("4:cpu:/a\n0::/\n", &files), Some(8 << 30), "another controller's group");
    }

    #[test]
    fn this_machine_has_some_left() {
        assert!(free(&Device::Cpu).is_some_and(|bytes| bytes > 1 << 20));
    }
}
