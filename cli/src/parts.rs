//! Which components `coracle up` starts.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A set of components. The API server is always one of them: nothing works without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The controllers.
    pub controllers: bool,
    /// The scheduler.
    pub scheduler: bool,
    /// The nodes' agents.
    pub agents: bool,
}

impl Parts {
    /// A whole cluster.
    pub const ALL: Parts = Parts { controllers: true, scheduler: true, agents: true };
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Parts, String> {
        let mut parts = Parts { controllers: false, scheduler: false, agents: false };
        let mut apiserver = false;
        for name in text.split(',').map(str::trim) {
            match name {
                "apiserver" => apiserver = true,
                "controllers" => parts.controllers = true,
                "scheduler" => parts.scheduler = true,
                "agents" => parts.agents = true,
                "all" => (apiserver, parts) = (true, Parts::ALL),
                _ => {
                    return Err(format!(
                        "{name:?} is no part; choose of apiserver, controllers, scheduler, agents"
                    ));
                }
            }
        }
        if apiserver {
            Ok(parts)
        } else {
            Err("the apiserver must be one of the parts: the others talk to it".into())
        }
    }
}

impl std::fmt::Display for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("apiserver")?;
        for (on, name) in
            [(self.controllers, "controllers"), (self.scheduler, "scheduler"), (self.agents, "agents")]
        {
            if on {
                write!(f, ",{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_comma() {
        assert_eq!("all".parse(), Ok(Parts::ALL));
        assert_eq!(
            "apiserver,scheduler".parse(),
            Ok(Parts { controllers: false, scheduler: true, agents: false })
        );
        assert_eq!(Parts::ALL.to_string().parse(), Ok(Parts::ALL));
        assert!("scheduler".parse::<Parts>().unwrap_err().contains("apiserver must be"));
        assert!("apiserver,kubelet".parse::<Parts>().unwrap_err().contains("\"kubelet\" is no part"));
    }
}
