//! Any text is a plan or is explained: no panic, every place inside the text, nothing for a terminal to obey.
#![no_main]

use std::sync::Arc;

use gangplank::{
    diagnostic::{Source, render},
    plan,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = Arc::new(Source { path: "plan.yaml".to_owned(), text: text.to_owned() });
    if let Err(problems) = plan::read(source) {
        assert!(!problems.0.is_empty());
        for place in problems.0.iter().filter_map(|problem| problem.place.as_ref()) {
            assert!(text.get(place.span.clone()).is_some(), "{:?}", place.span);
        }
        let shown = render(&problems, false);
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()));
    }
});
