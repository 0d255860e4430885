//! The gauge of standing faults.

use super::labels::ReasonLabel;
use crate::health::{Fault, Faults};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use std::fmt;
use std::sync::Arc;

/// 1 for each standing fault, 0 for each other one, read at each scrape.
#[derive(Debug)]
pub(super) struct FaultGauge(pub(super) Arc<Faults>);

impl EncodeMetric for FaultGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for fault in Fault::ALL {
            let stands = i64::from(self.0.get(fault).is_some());
            encoder.encode_family(&ReasonLabel { reason: fault.code() })?.encode_gauge(&stands)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}
