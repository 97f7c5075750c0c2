import Testing

@testable import EdgeAgent

@Suite("A file that is no JSON")
struct JSONFaultTests {
    @Test(
        "is told with the line and what to do there",
        arguments: [
            ("{\n  // the hub\n  \"a\": 1}", "line 2", "no comments"), ("{\"a\": 1 /* x */}", "line 1", "no comments"),
            ("# x\n{}", "line 1", "no comments"), ("{\"a\": 1,\n}", "line 2", "comma too many"),
            ("{\"a\": [1, ]}", "line 1", "comma too many"), ("{\"a\":\n}", "line 2", "value is missing"),
            ("{'a': 1}", "line 1", "double quotes"), ("{\"a\": 1\n\"b\": 2}", "line 2", "missing before it"),
            ("{\"a\": \"x\n\"}", "line 1", "beyond its line"), ("{\"a\": 1", "line 1", "ends too early"),
            ("", "line 1", "ends too early"), ("{} x", "line 1", "\"x\" is not expected"),
            ("{\"a\": tru}", "line 1", "not expected"),
        ]
    )
    func told(text: String, line: String, words: String) throws {
        let fault = try #require(JSONFault.describe(Array(text.utf8)))
        #expect(fault.hasPrefix(line + ":") && fault.contains(words), "\(fault)")
    }

    @Test(
        "is told apart from one that says the wrong things",
        arguments: ["{}", " [1, {\"a\": null}] \n", "1", "\"//\""]
    )
    func valid(text: String) {
        #expect(JSONFault.describe(Array(text.utf8)) == nil)
    }
}
