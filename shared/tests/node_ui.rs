//! What the compiler says to mistakes: the messages are part of the interface.

#[test]
fn mistakes_are_refused_with_readable_messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
