//! Common graphics cards, with the manufacturer's figures.

use super::speed::Speed;
use crate::Error;

/// A card, in the units of data sheets.
struct Card {
    name: &'static str,
    gib: u64,
    /// 10^12 operations per second in bf16 and f16 with sums in float32, dense; and in float32.
    products: f64,
    wide_products: f64,
    /// 10^9 bytes per second of its memory, and of its PCIe link in one direction.
    memory: f64,
    link: f64,
}

const fn card(name: &'static str, gib: u64, figures: [f64; 4]) -> Card {
    let [products, wide_products, memory, link] = figures;
    Card { name, gib, products, wide_products, memory, link }
}

/// 10^9 bytes per second of PCIe 4 and 5 with sixteen lanes, and of PCIe 4 with eight: 16 and 32 GT/s per lane in the
/// 128b/130b code.
const PCIE_4: f64 = 31.5;
const PCIE_5: f64 = 63.0;
const PCIE_4_X8: f64 = 15.75;

/// From NVIDIA's papers on the architectures GA102, Ada and Blackwell and from its data sheets. The first card of each
/// memory size is the default for that size.
const CARDS: [Card; 18] = [
    card("RTX 4090", 24, [165.2, 82.6, 1008.0, PCIE_4]),
    card("RTX 4080", 16, [97.5, 48.7, 717.0, PCIE_4]),
    card("RTX 4070", 12, [58.3, 29.1, 504.0, PCIE_4]),
    card("RTX 3080", 10, [59.5, 29.8, 760.0, PCIE_4]),
    card("RTX 4060", 8, [30.2, 15.1, 272.0, PCIE_4_X8]),
    card("RTX 5090", 32, [209.5, 104.8, 1792.0, PCIE_5]),
    card("RTX 5080", 16, [112.6, 56.3, 960.0, PCIE_5]),
    card("RTX 5070", 12, [61.7, 30.9, 672.0, PCIE_5]),
    card("RTX 4070 Ti", 12, [80.2, 40.1, 504.0, PCIE_4]),
    card("RTX 4060 Ti", 8, [44.1, 22.1, 288.0, PCIE_4_X8]),
    card("RTX 3090", 24, [71.0, 35.6, 936.0, PCIE_4]),
    card("RTX 3070", 8, [40.6, 20.3, 448.0, PCIE_4]),
    card("RTX 3060", 12, [25.5, 12.7, 360.0, PCIE_4]),
    card("L4", 24, [121.0, 30.3, 300.0, PCIE_4]),
    card("L40S", 48, [362.0, 91.6, 864.0, PCIE_4]),
    card("A100", 80, [312.0, 19.5, 2039.0, PCIE_4]),
    card("H100", 80, [989.4, 66.9, 3352.0, PCIE_5]),
    card("H200", 141, [989.4, 66.9, 4800.0, PCIE_5]),
];

impl Card {
    /// Operations per second of products of eight-bit floats: twice those of 16 bits on Ada, Hopper and Blackwell, none
    /// on Ampere.
    fn fp8_products(&self) -> f64 {
        let is_ampere = self.name == "A100" || self.name.starts_with("RTX 30");
        if is_ampere { 0.0 } else { 2e12 * self.products }
    }

    /// Operations per second of products of eight-bit integers: twice those of 16 bits; four times on GeForce cards, which
    /// multiply 16 bits with sums in float32 at half their rate.
    fn int8_products(&self) -> f64 {
        let is_geforce = self.name.starts_with("RTX");
        1e12 * self.products * if is_geforce { 4.0 } else { 2.0 }
    }

    fn speed(&self) -> Speed {
        /// Fractions of these figures that large operations reach. Those of products and memory are usual values; that
        /// of the link is what copies from pinned memory reach with PCIe's framing. None of them was measured here.
        const REACHED: [f64; 3] = [0.83, 0.85, 0.79];
        let [products, memory, link] = REACHED;
        Speed {
            name: self.name.into(),
            products: self.products * 1e12,
            wide_products: self.wide_products * 1e12,
            fp8_products: self.fp8_products(),
            int8_products: self.int8_products(),
            memory: self.memory * 1e9,
            link: self.link * 1e9,
            reached_products: products,
            reached_memory: memory,
            reached_link: link,
        }
    }
}

/// The card with a name such as `4090` or `RTX 4070 Ti`.
///
/// # Errors
/// [`Error::Request`] with the known names.
pub(super) fn named(name: &str) -> Result<Speed, Error> {
    let asked = words(name);
    let mut fitting: Vec<_> = CARDS.iter().filter(|card| contains(&words(card.name), &asked)).collect();
    fitting.sort_by_key(|card| card.name.len());
    fitting.first().map(|card| card.speed()).ok_or_else(|| Error::Request {
        parameter: "card",
        reason: format!("{name:?} is not one of {}", CARDS.map(|card| card.name).join(", ")),
    })
}

/// The card with this name of the driver, if it is known.
pub(super) fn of_driver(name: &str) -> Option<Speed> {
    let said = words(name);
    // A laptop's card has a slower chip than the desktop card of the same name.
    if said.iter().any(|word| word == "LAPTOP" || word == "MAX") {
        return None;
    }
    let known = CARDS.iter().filter(|card| contains(&said, &words(card.name)));
    known.max_by_key(|card| card.name.len()).map(Card::speed)
}

/// The default card for this many bytes of memory: the largest that has no more.
pub(super) fn of_size(bytes: u64) -> Speed {
    const GIB: u64 = 1 << 30;
    let gib = bytes.saturating_add(GIB / 2) / GIB;
    let [smallest, ..] = &CARDS;
    let smallest = CARDS.iter().fold(smallest, |least, card| if card.gib < least.gib { card } else { least });
    let fitting = CARDS.iter().filter(|card| card.gib <= gib);
    fitting.fold(smallest, |most, card| if card.gib > most.gib { card } else { most }).speed()
}

fn words(name: &str) -> Vec<String> {
    name.split([' ', '-']).filter(|word| !word.is_empty()).map(str::to_uppercase).collect()
}

fn contains(words: &[String], part: &[String]) -> bool {
    !part.is_empty() && words.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_found_by_what_people_and_drivers_call_them() {
        let asked = |name: &str| named(name).map(|speed| speed.name).map_err(|error| error.to_string());
        assert_eq!(asked("4090"), Ok("RTX 4090".into()));
        assert_eq!(asked("rtx 4070"), Ok("RTX 4070".into()));
        assert_eq!(asked("4070 ti"), Ok("RTX 4070 Ti".into()));
        assert!(asked("9999").unwrap_err().starts_with("card: \"9999\" is not one of RTX 4090, RTX 4080"));
        assert!(asked("").is_err());

        let driver = |name: &str| of_driver(name).map(|speed| speed.name);
        assert_eq!(driver("NVIDIA GeForce RTX 4070 Ti"), Some("RTX 4070 Ti".into()));
        assert_eq!(driver("NVIDIA A100-SXM4-80GB"), Some("A100".into()));
        assert_eq!(driver("NVIDIA H100 80GB HBM3"), Some("H100".into()));
        assert_eq!(driver("NVIDIA L40S"), Some("L40S".into()));
        for unknown in ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce GTX 1080", ""] {
            assert_eq!(driver(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn cards_before_ada_multiply_no_eight_bit_floats() {
        let fp8 = |name: &str| named(name).unwrap().fp8_products;
        assert_eq!((fp8("3090"), fp8("3060"), fp8("A100")), (0.0, 0.0, 0.0));
        assert_eq!((fp8("4090"), fp8("H100")), (330.4e12, 1978.8e12));
        assert!(fp8("L4") > 0.0 && fp8("5070") > 0.0);
        let int8 = |name: &str| named(name).unwrap().int8_products;
        assert_eq!((int8("3090"), int8("A100"), int8("H100")), (284e12, 624e12, 1978.8e12));
    }

    #[test]
    fn an_unnamed_card_is_the_default_of_its_size() {
        const GIB: u64 = 1 << 30;
        for (gib, name) in [(24, "RTX 4090"), (16, "RTX 4080"), (12, "RTX 4070"), (8, "RTX 4060")] {
            assert_eq!(of_size(gib * GIB).name, name);
            assert_eq!(of_size(gib * GIB - (100 << 20)).name, name, "as a driver counts");
        }
        assert_eq!((of_size(20 * GIB).name, of_size(GIB).name), ("RTX 4080".into(), "RTX 4060".into()));
    }
}
