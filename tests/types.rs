//! What the types exclude: specs that OTP refuses when it checks them do not compile here.

#[test]
fn s05_what_the_types_exclude_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/types/*.rs");
}
