// SPDX-License-Identifier: GPL-2.0

use super::*;

const HOSTS: &str = r#"
[[host]]
name = "a"
ram = "/m/a"
[[host]]
name = "b"
ram = "/m/b"
[[host]]
name = "c"
ram = "/m/c"
"#;

fn link(name: &str, primary: &str, secondary: &str) -> String {
    format!(
        r#"
[[link]]
name = "{name}"
windows = ["1M", "1M", "512M,direct"]
primary = {{ host = "{primary}", socket = "/s/{name}.0" }}
secondary = {{ host = "{secondary}", socket = "/s/{name}.1" }}
"#
    )
}

fn error(text: &str) -> String {
    Topology::parse(text).unwrap_err().to_string()
}

#[test]
fn a_mesh_of_three() {
    let text = [
        HOSTS,
        &link("ab", "a", "b"),
        &link("bc", "b", "c"),
        &link("ca", "c", "a"),
    ]
    .concat();
    let topology = Topology::parse(&text).unwrap();
    let ends: Vec<_> = topology
        .links()
        .iter()
        .map(|link| {
            let [primary, secondary] = &link.ends;
            (primary.host, secondary.name.as_str())
        })
        .collect();
    assert_eq!(ends, [(0, "b"), (1, "c"), (2, "a")]);
    assert_eq!(topology.links()[0].family, Family::Amd);
    assert_eq!(
        topology.links()[0]
            .windows
            .iter()
            .map(|w| w.direct)
            .collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[test]
fn links_of_different_families() {
    let other = link("bc", "b", "c").replace("[[link]]", "[[link]]\nfamily = \"intel\"");
    let topology = Topology::parse(&[HOSTS, &link("ab", "a", "b"), &other].concat()).unwrap();
    let families: Vec<_> = topology.links().iter().map(|link| link.family).collect();
    assert_eq!(families, [Family::Amd, Family::Intel]);
}

#[test]
fn both_ends_in_one_host_have_different_names() {
    let topology = Topology::parse(&[HOSTS, &link("loop", "a", "a")].concat()).unwrap();
    let names = topology.links()[0].ends.iter().map(|end| end.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["a:primary", "a:secondary"]);
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let good = [HOSTS, &link("ab", "a", "b")].concat();
    for (text, expected) in [
        (
            good.replace("host = \"b\"", "host = \"x\""),
            "link 'ab' ends at host 'x', which is not one of the hosts: a, b, c",
        ),
        (
            good.replace("/m/b", "/m/a"),
            "hosts 'a' and 'b' have the same RAM file",
        ),
        (
            good.replace("ab.1", "ab.0"),
            "socket /s/ab.0 is named twice",
        ),
        (
            good.replace("name = \"c\"", "name = \"a\""),
            "two hosts called 'a'",
        ),
        (
            good.replace("name = \"c\"", "name = \"c/d\""),
            "host name 'c/d'",
        ),
        (
            good.replace("\"512M,direct\"", "\"512M,fast\""),
            "link 'ab': window '512M,fast'",
        ),
        (
            good.replace("name = \"ab\"", "name = \"ab\"\nfamily = \"acme\""),
            "unknown variant `acme`",
        ),
        (
            good.replace("name = \"ab\"", "name = \"ab\"\nspeed = 3"),
            "unknown field `speed`",
        ),
        (good.replace("windows = [", "windows = "), "line 14"),
        (
            [good.as_str(), &link("ab", "b", "c").replace("/s/", "/t/")].concat(),
            "two links called 'ab'",
        ),
        (
            HOSTS.replace("[[host]]", "[[hosts]]"),
            "unknown field `hosts`",
        ),
        (["link = []\n", HOSTS].concat(), "there is no link"),
    ] {
        let error = error(&text);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn there_are_not_any_number_of_hosts() {
    let hosts = |count: usize| {
        let host = |i| format!("[[host]]\nname = \"h{i}\"\nram = \"/{i}\"\n");
        let hosts = (0..count).map(host).collect::<String>();
        [&hosts, link("l", "h0", "h1").as_str()].concat()
    };
    assert!(Topology::parse(&hosts(256)).is_ok());
    assert!(error(&hosts(257)).contains("there are 257 hosts, and there can be 256"));
}

#[test]
fn the_schema_names_every_field() {
    let schema = schema().to_string();
    for name in [
        "host",
        "ram",
        "link",
        "family",
        "windows",
        "primary",
        "secondary",
        "socket",
        "amd",
        "intel",
    ] {
        assert!(schema.contains(&format!("\"{name}\"")), "{name}: {schema}");
    }
}
