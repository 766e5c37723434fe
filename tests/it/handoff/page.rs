//! The page, which values of others are a part of.

use super::*;

/// What every page must be, whatever it shows.
fn assert_sound(page: &str) {
    let document = xml(page);
    let elements = || document.descendants().filter(roxmltree::Node::is_element);
    let count = |name: &str| elements().filter(|e| e.tag_name().name() == name).count();
    let in_head = document.descendants().find(|e| e.tag_name().name() == "head").expect("a head");
    assert_eq!(in_head.children().filter(|e| e.tag_name().name() == "title").count(), 1);
    assert_eq!((count("script"), count("style"), count("main")), (1, 1, 1));
    for loads in ["link", "img", "image", "iframe", "object", "embed", "base", "form", "use", "foreignObject"] {
        assert_eq!(count(loads), 0, "{loads}");
    }
    let mut ids = Vec::new();
    for element in elements() {
        for attribute in element.attributes() {
            let name = attribute.name();
            assert!(!name.starts_with("on") && !["src", "style", "srcset", "action"].contains(&name), "{name}");
            if name == "href" {
                assert_eq!(element.tag_name().name(), "a");
                assert!(attribute.value().starts_with("https://"), "{}", attribute.value());
                assert_eq!(element.attribute("rel"), Some("noopener noreferrer"));
            }
            if name == "id" {
                assert!(!ids.contains(&attribute.value()), "id {} twice", attribute.value());
                ids.push(attribute.value());
            }
        }
    }
    for element in elements() {
        for id in element.attribute("aria-labelledby").into_iter().flat_map(str::split_whitespace) {
            assert!(ids.contains(&id), "nothing has the id {id}");
        }
    }
    let policy = elements().find(|e| e.attribute("http-equiv") == Some("Content-Security-Policy")).expect("a policy");
    let policy = policy.attribute("content").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let css = elements().find(|e| e.tag_name().name() == "style").and_then(|e| e.text()).expect("a style");
    assert!(!css.contains("url(") && !css.contains("@import"));
}

#[test]
fn no_value_gets_out_of_its_place_on_the_page() {
    let (plan, verified) = hostile();
    let mut handoff = handoff::handoff(&plan, &known(Some(&verified)));
    handoff.bastion.clone_from(&verified.bastion);
    let page = page("hostile", &[handoff.clone(), handoff]);
    assert_sound(&page);
    assert!(!page.contains("<script>alert") && !page.contains('\u{1b}') && !page.contains('\u{202e}'));
    let document = xml(&page);
    let text: String = document.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
    for what in
        ["target", "host", "comment", "vendor", "label", "proves", "evidence", "cause", "fix", "reason", "bastion"]
    {
        let shown = format!(
            "{what} <script>alert(1)</script>\"'{{{{plan}}}}{{{{{{x}}}}}}&amp;<!-- ]]>\\u{{1b}}[2J\\u{{202e}}\\u{{ffff}}"
        );
        assert!(text.contains(&shown), "{what}");
    }
}

#[test]
fn only_the_style_and_the_script_are_written_as_they_are() {
    let text = concat!(
        include_str!("../../../templates/handoff.html.hbs"),
        include_str!("../../../templates/picture.svg.hbs")
    );
    let raw: Vec<_> = text.split("{{{").skip(1).filter_map(|rest| rest.split("}}}").next()).collect();
    assert_eq!(raw, ["style", "script"]);
    assert!(!text.contains("{{&"));
}

#[test]
fn no_value_acts_on_a_terminal() {
    let (plan, verified) = hostile();
    let handoff = [handoff::handoff(&plan, &known(Some(&verified)))];
    let acts = |text: String| text.contains(['\u{1b}', '\u{202e}']);
    assert!(!acts(handoff::text::text(&handoff, &Palette::PLAIN)) && !acts(handoff::text::fields(&handoff)));
    assert!(!acts(verification::human(&[verified], &Palette::PLAIN, true)));
}

#[test]
fn the_page_tells_the_path_in_words_and_signs_too() {
    let verified = one_red();
    let plan = with_key();
    let page = page("path", &[handoff::handoff(&plan, &known(Some(&verified)))]);
    assert_sound(&page);
    let document = xml(&page);
    let pictures: Vec<_> = document.descendants().filter(|n| n.attribute("role") == Some("img")).collect();
    assert_eq!(pictures.len(), 2);
    for picture in pictures {
        let words =
            picture.descendants().find(|n| n.tag_name().name() == "desc").and_then(|n| n.text()).expect("words");
        assert_eq!(
            words,
            "From secoda/north-america, through the security group (unknown), to the bastion (unknown), to the targets: \
             warehouse failed."
        );
        let signs: Vec<_> = picture
            .descendants()
            .filter(|n| n.attribute("class") == Some("verdict"))
            .filter_map(|n| n.text())
            .collect();
        assert_eq!(signs, ["? unknown", "? unknown", "✗ failed"]);
    }
}

#[test]
fn many_vendors_and_targets_still_make_a_picture() {
    let mut plan = analytics();
    let tunnel = plan.tunnels[1].clone();
    for i in 0..12 {
        let mut more = tunnel.clone();
        more.user = plan::UserName::new(&format!("vendor{i}")).expect("a name");
        plan.tunnels.push(more);
    }
    let handoff = handoff::handoff(&plan, &known(None));
    let page = page("many", &[handoff]);
    assert_sound(&page);
    assert!(page.contains("5 more vendors") && page.contains("18 more targets"), "{page}");
}

#[test]
fn two_vendors_and_four_targets_share_a_page() {
    let mut plan = analytics();
    let first = plan.tunnels[0].targets[0].clone();
    plan.tunnels[0].targets.push(plan::Target { name: "lake".to_owned(), ..first });
    let at = |name: &str| Part::Target(name.to_owned());
    let network =
        |id, part| check(Vantage::Network, id, part, "a forward leads to a server that speaks the right protocol");
    let verified = verification(vec![
        check(Vantage::ControlPlane, "control.ingress", Part::Edge, "exactly the listed addresses may connect").pass(),
        check(Vantage::Machine, "machine.daemon", Part::Bastion, "the running daemon has the plan's settings").pass(),
        network("network.forward", at("warehouse")).about("warehouse").pass(),
        network("network.forward", at("lake")).about("lake").pass(),
        network("network.forward", at("orders")).about("orders").fail("10.20.4.17:3306 refused", "start the database"),
    ]);
    let handoff = handoff::handoff(&plan, &Known { port: 2222, ..known(Some(&verified)) });
    assert_sound(&page("two", &[handoff]));
}
