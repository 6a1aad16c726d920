//! Merging data as Salt's `pillar_source_merging_strategy: smart` does for YAML: mappings key by key, all else replaced.

use crate::yaml::{Data, Value};

/// `base` with `over` laid over it.
pub fn merge(base: Value, over: Value) -> Value {
    let (at, raw) = (over.at, over.raw);
    let data = match (base.data, over.data) {
        (Data::Map(mut base), Data::Map(over)) => {
            for (key, value) in over {
                let merged = match base.get_mut(&key) {
                    Some(old) => merge(std::mem::take(old), value),
                    None => value,
                };
                base.insert(key, merged);
            }
            Data::Map(base)
        }
        (_, data) => data,
    };
    Value { data, at, raw }
}
