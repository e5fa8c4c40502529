//! Recorded series of real machines, as texts, laid end to end. It knows nothing of tenants.
//! Source and licence: `data/README.md`.

use anyhow::{Context, Result, ensure};

/// Minutes between two readings.
pub const READING_MINUTES: i64 = 5;

/// One recorded series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Requests at a load balancer.
    Requests,
    /// Bytes received by a web server.
    NetworkSmall,
    /// Bytes received by a busy server.
    NetworkLarge,
    /// Bytes written by a server.
    DiskOne,
    /// Bytes written by another one.
    DiskTwo,
    /// Processor load of a server.
    CpuOne,
    /// Processor load of another one.
    CpuTwo,
    /// Processor load of a database.
    CpuDatabase,
}

impl Recording {
    /// Its name in the benchmark.
    pub fn name(self) -> &'static str {
        self.file().0
    }

    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Requests => {
                ("elb_request_count_8c0756", include_str!("../data/cloudwatch/elb_request_count_8c0756.csv"))
            }
            Self::NetworkSmall => {
                ("ec2_network_in_257a54", include_str!("../data/cloudwatch/ec2_network_in_257a54.csv"))
            }
            Self::NetworkLarge => (
                "iio_us-east-1_i-a2eb1cd9_NetworkIn",
                include_str!("../data/cloudwatch/iio_us-east-1_i-a2eb1cd9_NetworkIn.csv"),
            ),
            Self::DiskOne => (
                "ec2_disk_write_bytes_1ef3de",
                include_str!("../data/cloudwatch/ec2_disk_write_bytes_1ef3de.csv"),
            ),
            Self::DiskTwo => (
                "ec2_disk_write_bytes_c0d644",
                include_str!("../data/cloudwatch/ec2_disk_write_bytes_c0d644.csv"),
            ),
            Self::CpuOne => (
                "ec2_cpu_utilization_5f5533",
                include_str!("../data/cloudwatch/ec2_cpu_utilization_5f5533.csv"),
            ),
            Self::CpuTwo => (
                "ec2_cpu_utilization_ac20cd",
                include_str!("../data/cloudwatch/ec2_cpu_utilization_ac20cd.csv"),
            ),
            Self::CpuDatabase => (
                "rds_cpu_utilization_cc0c53",
                include_str!("../data/cloudwatch/rds_cpu_utilization_cc0c53.csv"),
            ),
        }
    }
}

/// The readings of a series, each as the text in the file.
#[derive(Clone, Debug)]
pub struct Series {
    values: Vec<&'static str>,
}

impl Series {
    /// Reads the embedded file.
    pub fn load(recording: Recording) -> Result<Self> {
        let (name, text) = recording.file();
        let mut lines = text.lines();
        ensure!(lines.next() == Some("timestamp,value"), "{name} does not begin with timestamp,value");
        let value = |line: &'static str| Some(line.split_once(',')?.1.trim());
        let values: Option<Vec<_>> = lines.map(value).collect();
        let values = values.with_context(|| format!("{name} has a row without a value"))?;
        ensure!(!values.is_empty(), "{name} is empty");
        Ok(Self { values })
    }

    /// The reading at a place; past the end the series begins again.
    pub fn at(&self, index: usize) -> &'static str {
        self.values[index % self.values.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_texts_and_begin_again() {
        let series = Series::load(Recording::CpuOne).unwrap();
        assert_eq!(series.values.len(), 4032);
        assert_eq!(series.at(0), "51.846000000000004");
        assert_eq!(series.at(4032), series.at(0));
    }

    #[test]
    fn every_recording_is_there() {
        use Recording::*;
        for recording in [Requests, NetworkSmall, NetworkLarge, DiskOne, DiskTwo, CpuOne, CpuTwo, CpuDatabase]
        {
            assert!(Series::load(recording).unwrap().values.len() > 1000, "{}", recording.name());
        }
    }
}
