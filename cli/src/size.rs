//! A node's declared size: `2cpu,2Gi` or `2cpu,2Gi,20pods`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a node offers. Declared, not measured, so that small and large nodes stand side by side on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeSize {
    /// A quantity of cores, such as `2` or `500m`.
    pub cpu: String,
    /// A quantity of bytes, such as `2Gi`.
    pub memory: String,
    /// How many pods it takes.
    pub pods: u32,
}

/// What upstream's kubelet allows by default.
const DEFAULT_PODS: u32 = 110;

impl Default for NodeSize {
    /// Small enough that a laptop's demo fills a node, large enough for real pods.
    fn default() -> NodeSize {
        NodeSize { cpu: "2".into(), memory: "2Gi".into(), pods: DEFAULT_PODS }
    }
}

/// Disk that every node declares: pods rarely ask for it, and a node without any would refuse those that do.
const STORAGE: i64 = 20 << 30;

impl NodeSize {
    /// The same in the agent's units.
    ///
    /// # Errors
    /// An amount that is no quantity.
    pub fn amounts(&self) -> anyhow::Result<coracle_agent::Size> {
        let quantity = |text: &str| {
            text.parse::<coracle_api::quantity::Quantity>()
                .map_err(|error| anyhow::anyhow!("{text:?} is no quantity: {error}"))
        };
        Ok(coracle_agent::Size {
            cpu_milli: quantity(&self.cpu)?.milli_value(),
            memory: quantity(&self.memory)?.value(),
            storage: STORAGE,
            pods: self.pods.into(),
        })
    }
}

impl FromStr for NodeSize {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeSize, String> {
        let mut size = NodeSize { cpu: String::new(), memory: String::new(), pods: DEFAULT_PODS };
        for part in text.split(',').map(str::trim) {
            let digits = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let number = &part[..part.len() - digits.len()];
            if number.is_empty() {
                return Err(format!(
                    "{part:?} is no amount; write a size as 2cpu,2Gi or 500m cpu as 500mcpu,512Mi"
                ));
            }
            match digits {
                "cpu" => size.cpu = number.into(),
                "mcpu" => size.cpu = format!("{number}m"),
                "pods" => size.pods = number.parse().map_err(|_| format!("{part:?} is no number of pods"))?,
                "Ki" | "Mi" | "Gi" | "Ti" | "k" | "M" | "G" | "T" => size.memory = part.into(),
                _ => {
                    return Err(format!(
                        "{part:?} has no unit that a node's size knows (cpu, mcpu, Mi, Gi, pods)"
                    ));
                }
            }
        }
        match (size.cpu.is_empty(), size.memory.is_empty()) {
            (true, _) => Err(format!("{text:?} names no cpu; write a size as 2cpu,2Gi")),
            (_, true) => Err(format!("{text:?} names no memory; write a size as 2cpu,2Gi")),
            _ => Ok(size),
        }
    }
}

impl TryFrom<String> for NodeSize {
    type Error = String;

    fn try_from(text: String) -> Result<NodeSize, String> {
        text.parse()
    }
}

impl std::fmt::Display for NodeSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cpu = self.cpu.strip_suffix('m').map_or(format!("{}cpu", self.cpu), |m| format!("{m}mcpu"));
        write!(f, "{cpu},{}", self.memory)?;
        if self.pods == DEFAULT_PODS { Ok(()) } else { write!(f, ",{}pods", self.pods) }
    }
}

impl From<NodeSize> for String {
    fn from(size: NodeSize) -> String {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let size = |cpu: &str, memory: &str, pods| NodeSize { cpu: cpu.into(), memory: memory.into(), pods };
        let cases = [
            ("2cpu,2Gi", Ok(size("2", "2Gi", 110))),
            ("500mcpu, 512Mi", Ok(size("500m", "512Mi", 110))),
            ("1.5cpu,1Gi,5pods", Ok(size("1.5", "1Gi", 5))),
            ("2cpu", Err("\"2cpu\" names no memory; write a size as 2cpu,2Gi")),
            ("2Gi", Err("\"2Gi\" names no cpu; write a size as 2cpu,2Gi")),
            ("2cores,2Gi", Err("\"2cores\" has no unit that a node's size knows (cpu, mcpu, Mi, Gi, pods)")),
        ];
        for (text, expected) in cases {
            let got = text.parse::<NodeSize>();
            assert_eq!(got, expected.map_err(String::from), "case: {text}");
            if let Ok(size) = got {
                assert_eq!(size.to_string().parse(), Ok(size), "printing and reading {text}");
            }
        }
    }
}
