//! What a bastion costs at list prices, from a dated table in this repository (`cost/prices.yaml`). Pure.
//!
//! Traffic, taxes, discounts and free tiers are left out. What the table does not have is unknown, never zero.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    location::PriceRegion,
    plan::{Aws, AwsAddress, Azure, Cloud, Edge, FirewallSku, Plan},
};

/// Hours of a month, as the clouds' own calculators have them.
const HOURS: f64 = 730.0;

/// Something that is paid for by time: `instance t4g.nano`, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub name: String,
    pub quantity: u32,
}

impl Item {
    pub fn one(name: impl Into<String>) -> Self {
        Self { name: name.into(), quantity: 1 }
    }

    /// Of a gp3 volume.
    pub fn gp3(gib: u32) -> Self {
        Self { name: "gp3 GiB".to_owned(), quantity: gib }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    date: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    item: String,
    /// `aws us-east-1`; a cloud alone where the price is the same everywhere.
    #[serde(deserialize_with = "price_region")]
    place: PriceRegion,
    /// USD an hour, or a month.
    hour: Option<f64>,
    month: Option<f64>,
    source: String,
    confirmed: bool,
}

fn price_region<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PriceRegion, D::Error> {
    let text = String::deserialize(deserializer)?;
    PriceRegion::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no cloud's region")))
}

fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        // The text is embedded and a test reads it: it cannot fail here.
        let empty = || Table { date: "unknown".to_owned(), rows: Vec::new() };
        serde_yaml::from_str(include_str!("cost/prices.yaml")).unwrap_or_else(|_| empty())
    });
    &TABLE
}

/// What something costs, a line for each kind of item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bill {
    pub place: PriceRegion,
    pub currency: &'static str,
    /// The day that the price table is of.
    pub prices_of: &'static str,
    pub lines: Vec<Line>,
    /// The known lines together.
    pub monthly: f64,
    /// Every line is known, so that `monthly` is all of it.
    pub complete: bool,
    /// Until the deadline, where there is one that lies ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_deadline: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub item: String,
    pub quantity: u32,
    /// `None`: the table does not have it.
    pub monthly: Option<f64>,
    /// The title of the page that the price is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
    /// The source was read for the table; otherwise the price is from memory of it.
    pub confirmed: bool,
}

/// The bill of `items` in a region. `seconds_left`: until the deadline.
pub fn bill(place: &PriceRegion, items: &[Item], seconds_left: Option<i64>) -> Bill {
    let mut all: BTreeMap<&str, u32> = BTreeMap::new();
    for item in items {
        let sum = all.entry(&item.name).or_default();
        *sum = sum.saturating_add(item.quantity);
    }
    let lines: Vec<Line> = all.into_iter().map(|(item, quantity)| line(place, item, quantity)).collect();
    let monthly: f64 = lines.iter().filter_map(|l| l.monthly).fold(0.0, |sum, price| sum + price);
    // Seconds of at most some decades: exact as a float.
    #[allow(clippy::cast_precision_loss)]
    let until = |seconds: i64| monthly / (HOURS * 3600.0) * seconds as f64;
    Bill {
        place: place.clone(),
        currency: "USD",
        prices_of: &table().date,
        complete: lines.iter().all(|l| l.monthly.is_some()),
        until_deadline: seconds_left.filter(|s| *s > 0).map(until),
        lines,
        monthly,
    }
}

fn line(place: &PriceRegion, item: &str, quantity: u32) -> Line {
    let everywhere = PriceRegion { cloud: place.cloud, region: None };
    let rows = || table().rows.iter().filter(|row| row.item.eq_ignore_ascii_case(item));
    let row = rows().find(|row| row.place == *place).or_else(|| rows().find(|row| row.place == everywhere));
    let price = row.and_then(|row| row.month.or(row.hour.map(|hour| hour * HOURS)));
    Line {
        item: item.to_owned(),
        quantity,
        monthly: price.map(|price| price * f64::from(quantity)),
        source: row.map(|row| row.source.as_str()),
        confirmed: row.is_some_and(|row| row.confirmed),
    }
}

/// What a plan's bastion pays for by time, in the parts that come and go by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// While it runs.
    pub machine: Vec<Item>,
    /// While it exists, running or not.
    pub disk: Vec<Item>,
    /// The way in: an address, a firewall.
    pub edge: Vec<Item>,
}

impl Parts {
    pub fn all(self) -> Vec<Item> {
        [self.machine, self.disk, self.edge].concat()
    }
}

/// What a plan asks for. A root volume is counted with 8 GiB on AWS, which all supported images have, and on Azure with 30,
/// which are billed as 32.
pub fn parts(plan: &Plan) -> Parts {
    match &plan.cloud {
        Cloud::Aws(aws) => of_aws(aws),
        Cloud::Azure(azure) => of_azure(azure),
    }
}

fn of_aws(aws: &Aws) -> Parts {
    let machine = vec![Item::one(format!("instance {}", aws.instance_type))];
    let own = aws.address == AwsAddress::Elastic;
    let edge = if own { vec![Item::one("public IPv4")] } else { Vec::new() };
    Parts { machine, disk: vec![Item::gp3(8)], edge }
}

fn of_azure(azure: &Azure) -> Parts {
    let edge = match azure.edge {
        Edge::PublicAddress => vec![Item::one("public address")],
        Edge::Firewall(sku) => {
            let (tier, addresses) = match sku {
                // Its management has an address of its own.
                FirewallSku::Basic => ("Basic", 2),
                FirewallSku::Standard => ("Standard", 1),
                FirewallSku::Premium => ("Premium", 1),
            };
            vec![
                Item { name: "public address".to_owned(), quantity: addresses },
                Item::one(format!("firewall {tier}")),
                Item::one("firewall policy"),
            ]
        }
        Edge::ExistingFirewall(_) | Edge::ExistingPolicy(_) => Vec::new(),
    };
    Parts { machine: vec![machine(&azure.size)], disk: vec![disk()], edge }
}

/// A virtual machine of Azure, without its disk.
pub fn machine(size: &str) -> Item {
    Item::one(format!("machine {size}"))
}

/// The disk of such a machine: 30 GiB, which are billed as 32.
pub fn disk() -> Item {
    disk_of("StandardSSD_LRS", 30)
}

/// A managed disk: billed by the next larger of Azure's sizes, from 4 GiB on each twice the one before ("Azure managed disk types").
pub fn disk_of(kind: &str, gib: u64) -> Item {
    let billed = gib.max(4).checked_next_power_of_two().unwrap_or(gib);
    Item::one(format!("disk {kind} {billed} GiB"))
}

impl Bill {
    /// `7.36 USD a month`, `at least 3.07 USD a month`, `an unknown sum`.
    pub fn monthly_words(&self) -> String {
        match (self.complete, self.lines.iter().any(|l| l.monthly.is_some())) {
            (true, _) => format!("{:.2} USD a month", self.monthly),
            (false, true) => format!("at least {:.2} USD a month", self.monthly),
            (false, false) => "an unknown sum".to_owned(),
        }
    }
}

impl fmt::Display for Bill {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return f.write_str("costs nothing: no part of it is paid for by time");
        }
        write!(f, "costs {}", self.monthly_words())?;
        if let Some(until) = self.until_deadline {
            write!(f, ", {until:.2} USD until its deadline")?;
        }
        let line = |l: &Line| {
            let quantity = if l.quantity == 1 { String::new() } else { format!("{} × ", l.quantity) };
            let doubt = if l.confirmed || l.monthly.is_none() { "" } else { " (unconfirmed)" };
            let price = l.monthly.map_or_else(|| "unknown".to_owned(), |price| format!("{price:.2}"));
            format!("{quantity}{} {price}{doubt}", l.item)
        };
        let lines: Vec<String> = self.lines.iter().map(line).collect();
        write!(f, ": {}; list prices of {} for {}, without traffic", lines.join(", "), self.prices_of, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::CloudKind;

    #[test]
    fn every_row_of_the_table_can_be_used() {
        let table: Table = serde_yaml::from_str(include_str!("cost/prices.yaml")).expect("the table");
        assert!(table.date.parse::<jiff::civil::Date>().is_ok(), "{}", table.date);
        let mut seen = std::collections::BTreeSet::new();
        for row in &table.rows {
            let price = [row.hour, row.month];
            assert_eq!(price.iter().flatten().count(), 1, "{} has one price", row.item);
            assert!(price.iter().flatten().all(|p| (0.0..10_000.0).contains(p)), "{}", row.item);
            assert!(!row.source.is_empty());
            assert!(seen.insert((&row.item, row.place.to_string())), "{} in {} twice", row.item, row.place);
        }
    }

    #[test]
    fn a_bill_adds_up_and_says_what_it_does_not_know() {
        let items = [Item::one("instance t4g.nano"), Item::gp3(8), Item::one("public IPv4")];
        let known = bill(&PriceRegion::new(CloudKind::Aws, "us-east-1"), &items, Some(730 * 3600 * 3));
        assert!(known.complete);
        assert!((known.monthly - (0.0042 * 730.0 + 8.0 * 0.08 + 0.005 * 730.0)).abs() < 1e-9, "{known}");
        assert!((known.until_deadline.unwrap_or_default() - 3.0 * known.monthly).abs() < 1e-9);

        let partly = bill(&PriceRegion::new(CloudKind::Aws, "mars-north-1"), &items, None);
        assert!(!partly.complete);
        assert!(partly.to_string().starts_with("costs at least 3.65 USD a month: 8 × gp3 GiB unknown"), "{partly}");
        assert!(partly.to_string().contains("unknown"), "{partly}");
        let azure = PriceRegion::new(CloudKind::Azure, "x");
        assert!(bill(&azure, &[], None).to_string().starts_with("costs nothing"));
        assert_eq!(bill(&azure, &[Item::one("instance t4g.nano")], Some(-5)).monthly_words(), "an unknown sum");
        assert_eq!(bill(&azure, &items, Some(-5)).until_deadline, None);
    }

    #[test]
    fn a_disk_is_billed_by_its_size_class() {
        for (gib, billed) in [(0, 4), (4, 4), (5, 8), (30, 32), (32, 32), (33, 64)] {
            assert_eq!(disk_of("Premium_LRS", gib).name, format!("disk Premium_LRS {billed} GiB"));
        }
        assert!(disk_of("StandardSSD_LRS", u64::MAX).name.contains("GiB"));
    }
}
