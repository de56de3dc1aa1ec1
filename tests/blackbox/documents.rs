//! What the documents say is true: their configurations are valid, their table is the one in the code.

use std::fs;
use std::path::Path;

use crate::support::process::{command, run};
use crate::support::site::Site;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The fenced blocks of one language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    document
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(&format!("{language}\n")))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn configurations_in_the_readme_pass_check() {
    let site = Site::new();
    let config = site.config();
    let all = blocks(&document("README.md"), "yaml");
    assert!(!all.is_empty());
    for text in all {
        site.write(&text);
        site.verb_exits(0, &["check", "-c", config.to_str().unwrap()])
            .await;
    }
}

#[tokio::test]
async fn verbs_in_the_readme_exist() {
    let readme = document("README.md");
    let (_, operate) = readme.split_once("| verb | does |").unwrap();
    let (table, _) = operate.split_once("\n\n").unwrap();
    let verbs: Vec<_> = table
        .lines()
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(str::split_whitespace)
        .filter_map(|verb| verb.strip_prefix('`')?.strip_suffix('`'))
        .collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    let mut help = command();
    help.arg("--help");
    let help = run(help).await.out;
    for verb in verbs {
        let listed = help.lines().any(|line| line.trim().starts_with(verb));
        assert!(listed, "no verb {verb} in: {help}");
    }
}

/// What somebody types at night: no command in the documents ends with "unrecognized".
#[tokio::test]
async fn commands_in_the_documents_are_understood() {
    let mut seen = 0;
    for name in ["docs/concepts.md", "docs/runbooks/rolled-back.md"] {
        let page = document(name);
        let spans = page.split('`').filter(|span| !span.contains('\n'));
        let typed = page.lines().filter_map(|line| line.strip_prefix("$ "));
        for line in spans.chain(typed) {
            let Some(words) = line.strip_prefix("serin ") else {
                continue;
            };
            let mut asked = command();
            // Without the sentence in quotes. Help is printed only when what stands before it is understood.
            let (plain, _) = words.split_once(" --reason \"").unwrap_or((words, ""));
            asked.args(plain.split_whitespace()).arg("--help");
            let said = run(asked).await;
            assert_eq!(said.code, Some(0), "{name}: serin {words}: {}", said.err);
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for name in [
        "README.md",
        "docs/admin-api.md",
        "docs/concepts.md",
        "docs/configuration.md",
        "docs/forecasts.md",
        "docs/runbooks/rolled-back.md",
        "docs/telemetry.md",
        "examples/mlserver/README.md",
        "helm/README.md",
        "helm/serin/README.md",
    ] {
        let page = document(name);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let targets = page
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            let path = folder.parent().unwrap().join(file);
            assert!(path.exists(), "{name} links to {target}");
        }
    }
}

#[test]
fn every_metric_stands_on_the_page_about_telemetry() {
    let source = document("control/stats/src/names.rs");
    let (_, metrics) = source.split_once("pub const SERVER_DURATION").unwrap();
    let page = document("docs/telemetry.md");
    let quoted = metrics.split('"').skip(1).step_by(2);
    let names: Vec<_> = quoted
        .filter(|text| text.contains('.') && !text.contains(' '))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let row = page.contains(&format!("` | `{name}`"));
        assert!(row, "{name} has no row");
    }
}

/// Each row of the table names a constant; its value is the bound in the row.
#[test]
fn the_fixed_bounds_are_the_ones_in_the_code() {
    let page = document("docs/configuration.md");
    let (_, table) = page.split_once("## Bounds that are not keys").unwrap();
    let rows = table.lines().filter(|line| line.contains("](../"));
    let mut checked = 0;
    for row in rows {
        let (_, link) = row.split_once("](../").unwrap();
        let (file, rest) = link.split_once(')').unwrap();
        let name = rest.split('`').nth(1).unwrap();
        let source = document(file);
        let definition = source
            .lines()
            .find(|line| line.contains(&format!("const {name}: ")))
            .unwrap_or_else(|| panic!("{file} has no {name}"));
        let (_, value) = definition.split_once(" = ").unwrap();
        let stated = row.split(" | ").nth(1).unwrap();
        // A constant in milliseconds, a page in days.
        let unit = if name.ends_with("_MS") { 1_000 } else { 1 };
        assert_eq!(stated_bound(stated) * unit, product(value), "{row}");
        checked += 1;
    }
    assert!(checked > 25, "{checked}");
}

/// "16 KiB", "60 s", "10,000".
fn stated_bound(text: &str) -> u64 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let unit = match unit {
        "" | "s" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "d" => 86_400,
        other => panic!("unit {other}"),
    };
    number.replace(',', "").parse::<u64>().unwrap() * unit
}

/// `16 * 1024;`, `1 << 20;`, `Duration::from_secs(60);`.
fn product(code: &str) -> u64 {
    let code = code.trim_end_matches(';').trim_end_matches(')');
    let code = code.replace("Duration::from_secs(", "").replace('_', "");
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .unwrap_or_else(|_| panic!("{text}"))
    };
    match code.split_once("<<") {
        Some((base, shift)) => number(base) << number(shift),
        None => code.split('*').map(number).product(),
    }
}

#[test]
fn the_table_of_phases_and_events_is_the_one_in_the_code() {
    let page = document("ARCHITECTURE.md");
    let (_, rest) = page.split_once("<!-- phases and events -->\n").unwrap();
    let (table, _) = rest
        .split_once("<!-- end of phases and events -->")
        .unwrap();
    let expected = serin_control::rollout::table::markdown();
    assert_eq!(
        table.trim(),
        expected.trim(),
        "copy this table:\n{expected}"
    );
}
