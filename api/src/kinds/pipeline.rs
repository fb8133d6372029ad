//! What every object passes on its way in, whatever its kind: what it leaves open is filled in, then it is validated.

use serde_json::Value;

use crate::defaults::constants;
use crate::field::Errors;
use crate::kind::{CheckChange, Kind};
use crate::names;
use crate::validate::metadata::{MetaRules, validate_metadata, validate_metadata_update};

impl Kind {
    /// Fills in what an object leaves open; a second time changes nothing.
    pub fn fill_in(&self, object: &mut Value) {
        constants(object, self.schema());
        (self.strategy.default)(self, object);
    }

    /// The rules for `metadata` of a new object. They are the same for all kinds but for how a name looks; where in the
    /// order of causes they come, and how often, is a kind's own.
    pub fn check_metadata(&self, object: &Value, errors: &mut Errors) {
        validate_metadata(object, self.metadata_rules(), errors);
    }

    /// The rules for a change of `metadata`. (new, old)
    pub fn check_metadata_update(&self, new: &Value, old: &Value, errors: &mut Errors) {
        validate_metadata_update(new, old, self.metadata_rules(), errors);
    }

    /// What is wrong with a new object, in upstream's order.
    pub fn validate(&self, object: &Value) -> Errors {
        let mut errors = Errors::new();
        (self.strategy.validate)(self, object, &mut errors);
        if errors.is_empty() {
            // Kinds that ask nothing of `metadata` themselves still get what every object needs.
            validate_metadata(object, self.common_rules(), &mut errors);
        }
        errors
    }

    /// What is wrong with a change, by one of the strategy's rules for changes. (new, old)
    ///
    /// Upstream looks at `metadata` for every kind alike before it asks the kind, whose own rules may repeat it: the
    /// causes stand as often as they were found.
    pub fn validate_change(&self, check: CheckChange, new: &Value, old: &Value) -> Errors {
        let mut errors = Errors::new();
        validate_metadata(new, self.common_rules(), &mut errors);
        validate_metadata_update(new, old, self.common_rules(), &mut errors);
        check(self, new, old, &mut errors);
        errors
    }

    fn common_rules(&self) -> MetaRules {
        MetaRules { name: names::path_segment, namespaced: self.namespaced, strict_finalizers: false }
    }

    fn metadata_rules(&self) -> MetaRules {
        MetaRules { name: self.name_rule, namespaced: self.namespaced, strict_finalizers: true }
    }
}
