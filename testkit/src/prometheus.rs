//! A real Prometheus.

use super::metrics::{self, Sample};
use super::{Connector, H1, TestDelivery, eventually, free_port, pause};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this time without a further evaluation a wait fails: ten intervals of the shipped configuration.
const MAX_EVALUATION: Duration = Duration::from_secs(300);

/// A running Prometheus. Killed on drop. A failed test prints the end of its log.
pub struct PrometheusProcess {
    pub port: u16,
    child: Child,
    folder: TempDir,
}

/// An alert that is pending or firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveAlert {
    pub name: String,
    pub firing: bool,
    /// In the order of their names, without `alertname`.
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
}

impl ActiveAlert {
    /// The value of a label, or an empty text.
    pub fn label(&self, name: &str) -> &str {
        value_of(&self.labels, name)
    }

    /// The value of an annotation, or an empty text.
    pub fn annotation(&self, name: &str) -> &str {
        value_of(&self.annotations, name)
    }
}

impl PrometheusProcess {
    /// Starts one with this configuration, and waits until it is ready. A path in `rule_files` must be absolute.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("blobgate-prometheus-").tempdir().unwrap();
        let port = free_port();
        let path = folder.path();
        fs::write(path.join("prometheus.yaml"), config).unwrap();
        let program =
            program().expect("cannot start Prometheus: it is not installed. Install the package prometheus.");
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", path.join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", path.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(path.join("stderr")).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut started = Self { port, child, folder };
        eventually("ready Prometheus", || {
            if let Some(status) = started.child.try_wait().unwrap() {
                panic!("Prometheus ended: {status}");
            }
            started.get("/-/ready").ok()
        });
        started
    }

    /// The value of an expression now, one sample a series. A scalar is one sample without a name.
    ///
    /// # Errors
    /// Prometheus' own text about the expression.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        self.evaluate(expression, "")
    }

    /// Like [`Self::query`], at another time in seconds since the epoch. A later time shows what remains of today's samples.
    ///
    /// # Errors
    /// Prometheus' own text about the expression.
    pub fn query_at(&self, expression: &str, time: f64) -> Result<Vec<Sample>, String> {
        self.evaluate(expression, &format!("&time={time}"))
    }

    fn evaluate(&self, expression: &str, time: &str) -> Result<Vec<Sample>, String> {
        let data = self.api(&format!("/api/v1/query?query={}{time}", percent_encoded(expression)))?;
        let result = &data["result"];
        match data["resultType"].as_str() {
            Some("vector") => result
                .as_array()
                .unwrap()
                .iter()
                .map(|series| sample(&series["metric"], &series["value"]))
                .collect(),
            Some("scalar") => Ok(vec![sample(&Value::Null, result)?]),
            other => Err(format!("{expression} is of the type {other:?}")),
        }
    }

    /// The names of all metrics that it has.
    #[track_caller]
    pub fn metric_names(&self) -> Vec<String> {
        let names = self.api("/api/v1/label/__name__/values").unwrap();
        names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// The alerts that are pending or firing.
    #[track_caller]
    pub fn alerts(&self) -> Vec<ActiveAlert> {
        let data = self.api("/api/v1/alerts").unwrap();
        data["alerts"].as_array().unwrap().iter().map(active_alert).collect()
    }

    /// The names of the alerts that fire, sorted, each once.
    #[track_caller]
    pub fn firing(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.alerts().into_iter().filter(|alert| alert.firing).map(|alert| alert.name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The rules of all groups, as `/api/v1/rules` has them: `name`, `query`, `type`, `health`, `lastError`...
    #[track_caller]
    pub fn rules(&self) -> Vec<Value> {
        let data = self.api("/api/v1/rules").unwrap();
        let groups = data["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    /// How many evaluations have begun, of the rule group with the fewest.
    #[track_caller]
    pub fn evaluations(&self) -> u64 {
        let text = self.get("/metrics").unwrap();
        let begun =
            metrics::parse(&text).into_iter().filter(|s| s.name == "prometheus_rule_group_iterations_total");
        let fewest = begun.map(|sample| sample.value).reduce(f64::min);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small whole number
        fewest.map_or(0, |begun| begun as u64)
    }

    /// Waits until each target has been scraped once more, from now on. A Prometheus knows its targets 5 s after its start.
    #[track_caller]
    pub fn scraped(&self) {
        let now = self.query("time()").unwrap()[0].value;
        eventually("scrape of each target", || {
            let targets = self.api("/api/v1/targets?state=active").unwrap();
            let targets = targets["activeTargets"].as_array().unwrap().len();
            let since = self.query(&format!("timestamp(up) > {now}")).unwrap();
            (targets > 0 && since.len() == targets).then_some(())
        });
    }

    /// Calls `probe` until it returns a value. Panics if it returns none after this many whole evaluations.
    #[track_caller]
    pub fn within_evaluations<T>(
        &self,
        limit: u64,
        what: &str,
        mut probe: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        // One may have begun before the call, and one more begins when the last has ended.
        let first = self.evaluations();
        let (mut newest, mut since) = (first, Instant::now());
        loop {
            let begun = self.evaluations();
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(
                begun <= first + limit,
                "no {what} within {limit} evaluations; alerts: {:#?}",
                self.alerts()
            );
            if begun > newest {
                (newest, since) = (begun, Instant::now());
            }
            assert!(since.elapsed() < MAX_EVALUATION, "no evaluation within {MAX_EVALUATION:?}");
            pause(Duration::from_millis(100));
        }
    }

    /// The body of a GET.
    ///
    /// # Errors
    /// No whole response with 200 came.
    fn get(&self, path: &str) -> Result<String, String> {
        let request = TestDelivery::without_body().method("GET").path(path).header("host", "127.0.0.1");
        let answer = Connector::plaintext(self.port, H1).try_open()?.try_send(&request)?;
        if answer.status == 200 { Ok(answer.text()) } else { Err(answer.text()) }
    }

    fn api(&self, path: &str) -> Result<Value, String> {
        let body = self.get(path)?;
        let mut whole: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        Ok(whole["data"].take())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("stderr")).unwrap_or_default()).into_owned()
    }
}

impl Drop for PrometheusProcess {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(30);
            println!("The last 30 lines of Prometheus' log:");
            log.lines().skip(from).for_each(|line| println!("  {line}"));
        }
    }
}

fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
}

fn pairs(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    object.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn active_alert(alert: &Value) -> ActiveAlert {
    let labels = pairs(&alert["labels"]);
    ActiveAlert {
        name: value_of(&labels, "alertname").to_owned(),
        firing: alert["state"] == "firing",
        labels: labels.into_iter().filter(|(name, _)| name != "alertname").collect(),
        annotations: pairs(&alert["annotations"]),
    }
}

/// `value` is a pair of a time and a number as text.
fn sample(labels: &Value, value: &Value) -> Result<Sample, String> {
    let all = pairs(labels);
    let number = value[1].as_str().and_then(|text| text.parse().ok());
    Ok(Sample {
        name: value_of(&all, "__name__").to_owned(),
        labels: all.into_iter().filter(|(name, _)| name != "__name__").collect(),
        value: number.ok_or_else(|| format!("no number: {value}"))?,
    })
}

fn percent_encoded(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn program() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&folders).map(|folder| folder.join("prometheus"));
    found.find(|path: &PathBuf| Path::is_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::needs;

    #[test]
    #[needs(Prometheus)]
    fn evaluates_rules_of_what_it_scrapes() {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.yaml");
        fs::write(
            &rules,
            "groups: [{name: g, rules: [{alert: Scraped, expr: 'up{job=\"first\"} == 1', labels: {severity: page}, \
             annotations: {summary: 'Up: {{ $value }}'}}, {alert: Never, expr: 'up == 2'}]}]",
        )
        .unwrap();
        let first = PrometheusProcess::start("global: {}");
        assert_eq!((first.evaluations(), first.alerts()), (0, vec![]));
        let second = PrometheusProcess::start(&format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n- job_name: \
             first\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            rules.display(),
            first.port
        ));
        second.scraped();
        let alert = second.within_evaluations(2, "alert", |prometheus| prometheus.alerts().pop());
        assert_eq!((&*alert.name, alert.firing, alert.label("severity")), ("Scraped", true, "page"));
        assert_eq!(alert.annotation("summary"), "Up: 1");
        assert_eq!(second.firing(), ["Scraped"]);
        assert_eq!(second.rules().len(), 2);
        assert!(second.metric_names().contains(&"go_info".to_owned()));
        let up = second.query("sum by (job) (up{job=~\"first|second\"} + 0)").unwrap();
        assert_eq!(
            up,
            [Sample { name: String::new(), labels: vec![("job".into(), "first".into())], value: 1.0 }]
        );
        assert_eq!(second.query("scalar(sum(up))").unwrap()[0].value, 1.0);
        assert_eq!(second.query("absent_metric").unwrap(), []);
        assert!(second.query("sum(up").unwrap_err().contains("unclosed left parenthesis"));
    }
}
