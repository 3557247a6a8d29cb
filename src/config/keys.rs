//! Keys: which are known, which one an unknown one was meant to be, and how the environment overrides them.

use toml::{Table, Value};

/// What every environment variable of ours starts with; a double underscore separates section and key.
const PREFIX: &str = "TRUNKLINE_";
const SEPARATOR: &str = "__";

/// Lays the variables named `TRUNKLINE_SECTION__KEY` over `settings`. The type of a value is that of the default in
/// `known`: text stays text, everything else is read as TOML. Names without the double underscore are not ours
/// (orchestrators set `TRUNKLINE_PORT` and the like by themselves).
pub(super) fn overlay_environment(
    settings: &mut Table,
    known: &Table,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), String> {
    let mut variables: Vec<_> = variables.collect();
    variables.sort_unstable();
    for (name, text) in variables {
        let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(SEPARATOR))
        else {
            continue;
        };
        let (section, key) = (section.to_lowercase(), key.to_lowercase());
        let value = match known.get(&section).and_then(|keys| keys.get(&key)) {
            None => {
                return Err(format!("environment variable {name}: {}", unknown(&[&section, &key], known)));
            }
            Some(Value::String(_)) => Value::String(text),
            Some(_) => read_as_toml(&text).ok_or_else(|| {
                // The value itself is not shown: it may be a secret.
                format!("environment variable {name}: not a TOML value such as 5, true or [\"a\", \"b\"]")
            })?,
        };
        let keys = settings.entry(section).or_insert_with(|| Value::Table(Table::new()));
        match keys {
            Value::Table(keys) => drop(keys.insert(key, value)),
            _ => {
                return Err(format!("environment variable {name}: its section is a plain value in the file"));
            }
        }
    }
    Ok(())
}

fn read_as_toml(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    if table.len() == 1 { table.remove("value") } else { None }
}

/// Refuses the first key of `given` that `known` does not have.
pub(super) fn check_known(given: &Table, known: &Table) -> Result<(), String> {
    for (section, keys) in given {
        let Some(Value::Table(known_keys)) = known.get(section) else {
            return Err(unknown(&[section], known));
        };
        let Value::Table(keys) = keys else {
            return Err(format!("`{section}` is a section: write [{section}] and its keys below"));
        };
        for key in keys.keys() {
            if !known_keys.contains_key(key) {
                return Err(unknown(&[section, key], known));
            }
        }
    }
    Ok(())
}

/// Puts `given` over `base`, key by key.
pub(super) fn overlay(base: &mut Table, given: Table) {
    for (section, keys) in given {
        match (base.get_mut(&section), keys) {
            (Some(Value::Table(base)), Value::Table(keys)) => base.extend(keys),
            (_, keys) => drop(base.insert(section, keys)),
        }
    }
}

/// Every known key as `section.key`, in order.
pub(super) fn paths(known: &Table) -> Vec<String> {
    let keys = |keys: &Value| keys.as_table().map(|keys| keys.keys().cloned().collect::<Vec<_>>());
    known
        .iter()
        .flat_map(|(section, table)| {
            keys(table).unwrap_or_default().into_iter().map(move |key| format!("{section}.{key}"))
        })
        .collect()
}

fn unknown(path: &[&str], known: &Table) -> String {
    let given = path.join(".");
    let candidates = if path.len() == 1 { known.keys().cloned().collect() } else { paths(known) };
    let nearest = candidates.iter().min_by_key(|candidate| {
        // The same key in another section, and a near miss in the same one, both beat a chance likeness.
        let moved = path.len() > 1 && candidate.rsplit('.').next() == path.last().copied();
        if moved { 1 } else { distance(&given, candidate) }
    });
    match nearest {
        Some(nearest) => format!("unknown key `{given}`; the nearest known one is `{nearest}`"),
        None => format!("unknown key `{given}`"),
    }
}

/// Levenshtein's distance: how many letters to insert, delete or replace. Keys are short, so one row suffices.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
