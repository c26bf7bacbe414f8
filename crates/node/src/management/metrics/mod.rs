//! `/metrics`: OpenMetrics text, written anew from a snapshot at each scrape.
//!
//! Names are `starling_…`, in base units. A state is a gauge for each value it can have, 1 for the one it has, so that a
//! query never depends on the numbering of states.

mod agent;
mod pools;
mod server;
mod sharing;

use super::Snapshot;
use crate::status::ZoneStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;

/// What the text is, for the client.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many zones have series of their own: the first in the order of the configuration, so that the same ones are
/// told at each scrape. Each takes seven lines or more; a thousand were 420 KB and took 7 ms (unoptimised, one of two shared
/// cores). Ten times as many would hold up for 70 ms the thread that has to beat every 100 ms. `starling_zones` counts
/// all, and `starling_zones_unlisted` those without series.
pub(crate) const ZONES_MAX: usize = 1000;

/// The text for a snapshot.
pub(super) fn text(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(snapshot)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes any text");
    text
}

#[derive(Debug)]
struct Page(Snapshot);

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Page(Snapshot { server, zones, agent, digests: _, told: _ }) = self;
        let mut families = Families(encoder);
        families.info(
            "starling_build",
            "The running program.",
            [[("version", env!("CARGO_PKG_VERSION"))]],
        )?;
        let help = "Whether the server answers: not while it loads its zones, nor while its process is gone.";
        families.gauge("starling_server_up", help, [([], u64::from(server.is_some()))])?;
        if let Some(server) = server {
            server::encode(server, &mut families)?;
            let zones: &[ZoneStatus] = zones.get(..ZONES_MAX).unwrap_or(zones);
            server::encode_zones(server, zones, &mut families)?;
        }
        if let Some(agent) = agent {
            agent::encode(agent, &mut families)?;
        }
        Ok(())
    }
}

/// A writer of metric families.
struct Families<'a>(DescriptorEncoder<'a>);

/// The labels of a sample.
type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

impl Families<'_> {
    /// A counter; the names of its samples get `_total` appended.
    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<Labels<'_, 0>, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A gauge.
    fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A histogram: how many fell into each bucket, of which the last has no bound, and the sum of all. Bounds and sum are in
    /// seconds.
    fn histogram(&mut self, name: &str, help: &str, sum: f64, buckets: &[(f64, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let count = buckets.iter().map(|(_, count)| count).sum();
        family.encode_histogram::<Labels<'_, 0>>(sum, count, buckets, None)
    }

    /// Histograms of one family, told apart by labels.
    fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum, buckets) in samples {
            let count = buckets.iter().map(|(_, count)| count).sum();
            family.encode_family(&labels)?.encode_histogram::<Labels<'_, 0>>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    /// A state: a gauge for each value there can be, 1 for the one that `is` and 0 for the others.
    fn state(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        all: &[&'static str],
        is: &str,
    ) -> fmt::Result {
        let samples = all.iter().map(|value| ([(label, *value)], u64::from(*value == is)));
        self.gauge(name, help, samples)
    }

    /// An info: 1, with what there is to tell in the labels; its samples get `_info` appended.
    fn info<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Labels<'l, N>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        for labels in samples {
            family.encode_info(&labels)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
