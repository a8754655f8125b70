//! How the binary is told where Redis is.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::uso;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../queue/tests/it/tls");

/// A Redis that takes nothing but TLS.
struct Server {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .current_dir(folder.path())
            .args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port.to_string()])
            .args(["--tls-cert-file", &format!("{CERTIFICATES}/server.pem"), "--tls-auth-clients", "no"])
            .args(["--tls-key-file", &format!("{CERTIFICATES}/server.key"), "--save", ""])
            .args(["--tls-ca-cert-file", &format!("{CERTIFICATES}/ca.pem")])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed");
        Self { child, url: format!("rediss://127.0.0.1:{port}"), _folder: folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_redis_over_tls_is_reached_with_its_ca() {
    let server = Server::start();
    let ca = format!("{CERTIFICATES}/ca.pem");
    assert!(Path::new(&ca).exists());
    let migrate = |more: &[&str]| uso(&[&["migrate", "--redis", &server.url], more].concat());
    let began = Instant::now();
    let migrated = loop {
        let done = migrate(&["--redis-ca", &ca, "--shards", "3", "--durability", "replica:2"]);
        if done.status.success() || began.elapsed() > Duration::from_secs(10) {
            break done;
        }
    };
    let said = String::from_utf8(migrated.stdout).unwrap();
    assert!(said.contains("layout 1") && said.contains("replica:2"), "{said}");

    let refusals: [(&[&str], &str); 4] = [
        (&[], "certificate"),
        (&["--redis-ca", "none.pem"], "none.pem"),
        (&["--redis-ca", &ca], "3 shard(s), and 1 were asked for"),
        (&["--durability", "fsync"], "replica:N"),
    ];
    for (args, message) in refusals {
        let refused = migrate(args);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(message), "{args:?}: {said}");
    }
}
