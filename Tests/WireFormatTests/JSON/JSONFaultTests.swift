import Testing
import WireFormat

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
        #expect(fault.hasPrefix(line + ", column ") && fault.contains(words), "\(fault)")
    }

    @Test(
        "is told apart from one that says the wrong things",
        arguments: ["{}", " [1, {\"a\": null}] \n", "1", "\"//\""]
    )
    func valid(text: String) {
        #expect(JSONFault.describe(Array(text.utf8)) == nil)
    }

    @Test("is told with the column, which is all that helps in a text of one line")
    func column() {
        #expect(JSONFault.describe(Array("{\"ä\": 1, \"b\" 2}".utf8))?.hasPrefix("line 1, column 14: ") == true)
        #expect(JSONFault.describe(Array("{\n  \"a\": x}".utf8))?.hasPrefix("line 2, column 8: ") == true)
    }

    @Test("is told apart from an object that is only nested too deep, and from what is no object")
    func objects() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array(
                (String(repeating: "{\"a\":", count: depth - 1) + "{}" + String(repeating: "}", count: depth - 1)).utf8
            )
        }
        #expect(JSONFault.ofObject(nested(64)) == nil)
        let deep = try #require(JSONFault.ofObject(nested(65)))
        #expect(deep.contains("deeper than 64 levels"), "\(deep)")
        #expect(JSONFault.ofObject(nested(64), deepest: 63)?.contains("deeper than 63 levels") == true)
        #expect(JSONFault.ofObject(Array("[1]".utf8))?.contains("no object") == true)
        #expect(JSONFault.ofObject([0xFF, 0xFE, 0x7B])?.contains("UTF-8") == true)
        #expect(JSONFault.ofObject(Array("\u{FEFF}{}".utf8))?.contains("byte order mark") == true)
        #expect(JSONFault.ofObject(Array("{\"a\" 1}".utf8))?.hasPrefix("line 1, column 6: ") == true)
        // What stops later is not for its depth.
        #expect(JSONFault.ofObject(Array("{\"a\": [[1]] 2}".utf8))?.contains("not expected") == true)
    }
}
