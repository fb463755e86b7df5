//! What a workload gave, as a line of text and as JSON.
use super::load::Tally;
use super::samples::Sample;
use super::{Beside, GatewayArgs, Workload};
use serde_json::json;
use std::time::Duration;

/// What one workload gave.
#[derive(Debug)]
pub(super) struct Figures {
    pub tally: Tally,
    pub seconds: f64,
    /// Processor time of the gateway while it was measured.
    pub cpu_seconds: f64,
    pub memory_bytes: u64,
    /// Until the sinks had everything, from the first message measured on.
    pub delivered_seconds: f64,
    pub delivered: u64,
    pub missing: u64,
    pub care: Option<Care>,
    /// How it went, from the first message of the warm-up until all had arrived.
    pub samples: Vec<Sample>,
}

/// How coordinated care has read.
#[derive(Debug)]
pub(super) struct Care {
    /// Messages a second while it was measured.
    pub beside: f64,
    /// Messages that it had not read when the load ended.
    pub behind: u64,
    /// Messages a second after that.
    pub alone: f64,
}

impl Figures {
    pub fn rate(&self) -> f64 {
        self.tally.acknowledged as f64 / self.seconds
    }

    pub fn cpu_rate(&self) -> f64 {
        self.tally.acknowledged as f64 / self.cpu_seconds.max(0.01)
    }

    pub fn delivered_rate(&self) -> f64 {
        self.delivered as f64 / self.delivered_seconds
    }

    pub fn line(&self, workload: Workload, beside: Option<Beside>, [acknowledged, cpu, delivered]: [f64; 3]) -> String {
        let [median, high, highest] = self.tally.quantiles();
        let ratios = match (beside, workload.routes()) {
            (None, _) => String::new(),
            (Some(_), 0) => format!("; of its speed alone {acknowledged:.2}, for each second of processor {cpu:.2}"),
            (Some(_), _) => format!(
                "; of its speed alone {acknowledged:.2}, for each second of processor {cpu:.2}, delivered {delivered:.2}"
            ),
        };
        let delivered = match workload.routes() {
            0 => String::new(),
            _ => {
                format!(", {:.0} deliveries/s until all had arrived ({} missing)", self.delivered_rate(), self.missing)
            }
        };
        let care = self.care.as_ref().map_or(String::new(), |Care { beside, behind, alone }| {
            format!(", coordinated care read {beside:.0} msg/s, then {behind} behind and {alone:.0} msg/s")
        });
        format!(
            "{}{}: {:.0} msg/s acknowledged, {:.0} msg/s for each second of processor, ACK p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, memory {} MB{delivered}{care}{ratios}",
            workload.name(),
            beside.map_or("", Beside::words),
            self.rate(),
            self.cpu_rate(),
            millis(median),
            millis(high),
            millis(highest),
            self.memory_bytes >> 20,
        )
    }

    pub fn json(
        &self,
        workload: Workload,
        args: &GatewayArgs,
        fsync: Duration,
        beside: Option<Beside>,
        [acknowledged, cpu, delivered]: [f64; 3],
    ) -> serde_json::Value {
        let [median, high, highest] = self.tally.quantiles();
        json!({
            "workload": workload.name(),
            "beside": beside.map(Beside::name),
            "ratio_to_alone": beside.map(|_| json!({ "acknowledged": acknowledged, "acknowledged_per_cpu": cpu, "delivered": delivered })),
            "durability": args.durability.name(),
            "index": args.index,
            "fsync_ms": millis(fsync),
            "connections": args.connections,
            "rate": args.rate,
            "seconds": self.seconds,
            "acknowledged_per_s": self.rate(),
            "acknowledged_per_cpu_s": self.cpu_rate(),
            "ack_ms": { "p50": millis(median), "p99": millis(high), "p99.9": millis(highest) },
            "memory_bytes": self.memory_bytes,
            "deliveries_per_s": self.delivered_rate(),
            "missing": self.missing,
            "care": self.care.as_ref().map(|care| json!({ "read_per_s": care.beside, "behind": care.behind, "read_per_s_after": care.alone })),
        })
    }
}

/// As figures are told.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
