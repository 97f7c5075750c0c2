import Foundation
import Testing

@testable import ControlHub

@Suite("JSON that somebody else wrote")
struct JSONReaderTests {
    private func read(_ text: String) throws -> JSONValue { try JSONReader.value(text.utf8) }

    @Test(
        "Halves of surrogate pairs are read as U+FFFD where they stand alone, and as what they mean where they do not",
        arguments: [
            (#"{"text":"cut \ud83d"}"#, "cut \u{FFFD}"), (#"{"text":"\ude00 cut"}"#, "\u{FFFD} cut"),
            (#"{"text":"\ud83d\ud83d\ude00"}"#, "\u{FFFD}😀"), (#"{"text":"\uD83D\uDE00"}"#, "😀"),
            (#"{"text":"\\ud83d"}"#, #"\ud83d"#), (#"{"text":"\ud83dx"}"#, "\u{FFFD}x"),
            (#"{"text":"\b\f\n\r\t\/\"\u0000é"}"#, "\u{8}\u{c}\n\r\t/\"\0é"),
        ]
    )
    func halves(json: String, text: String) throws {
        #expect(try read(json)["text"]?.stringValue == text)
        #expect(MonitorPacketOperations.parse(Data(json.utf8))["text"]?.stringValue == text)
    }

    @Test("Every kind of value is read as what it is")
    func kinds() throws {
        let json = try read(
            "\u{FEFF} {\"a\": [1, -2, 1.5, 1e3, 1.0, 12345678901234567890, null, true, false, \"\", {}, []]} "
        )
        #expect(
            json
                == .object([
                    "a": .array([
                        .integer(1), .integer(-2), .number(1.5), .literal("1e3"), .literal("1.0"),
                        .literal("12345678901234567890"), .null, .bool(true), .bool(false), .string(""),
                        .object([:]), .array([]),
                    ])
                ])
        )
        #expect(try read(#"{"a": 1, "a": 2}"#)["a"] == .integer(2))
    }

    @Test(
        "What is no JSON is refused, where it ceases to be",
        arguments: [
            "", " ", "{", "[1", "{\"a\"}", "{\"a\":}", "[1,]", "{\"a\":1,}", "01", "1.", "1e", "+1", ".5", "-", "tru",
            "\"",
            "\"\\x\"", "\"\\u12\"", "\"\\u+123\"", "\"a\nb\"", "1 2", "[1]]", "nul", "\"\\", #"\ud83d\u"#, "'a'", "NaN",
        ]
    )
    func refused(text: String) {
        #expect(throws: JSONReader.Fault.self) { try read(text) }
    }

    @Test("Nesting is followed as deep as anything of use goes, and no deeper")
    func depth() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try read(nested(JSONReader.maximumDepth))
        for depth in [JSONReader.maximumDepth + 1, 200_000] {
            let fault = #expect(throws: JSONReader.Fault.self) { try read(nested(depth)) }
            #expect(fault?.isTooDeep == true)
        }
        // A packet is kept all the same, as the text that it is.
        #expect(MonitorPacketOperations.parse(Data(nested(100).utf8)) == .string(nested(100)))
    }

    @Test(
        "A long name is taken where it is plain, and refused by its length otherwise, before anything is compared with it"
    )
    func longNames() throws {
        let plain = String(repeating: "n", count: 100_000)
        #expect(try read(#"{"\#(plain)":1}"#)[plain] == .integer(1))
        let marks = "a" + String(repeating: "\u{301}\u{316}", count: 100_000)
        for json in [#"{"\#(marks)":1}"#, #"{"a":{"\#(String(repeating: #"\u0301"#, count: 50_000))":1}}"#] {
            let fault = #expect(throws: JSONReader.Fault.self) { try read(json) }
            #expect(fault?.hasLongName == true)
            // Kept as the text it is, and no two are taken for the same.
            #expect(MonitorPacketOperations.parse(Data(json.utf8)) == .string(json))
        }
        #expect(try read(#"{"state":"\#(marks)"}"#)["state"]?.word == nil)
    }

    @Test("Bytes that are no UTF-8 are refused")
    func bytes() {
        #expect(throws: JSONReader.Fault.self) { try JSONReader.value([0x22, 0xFF, 0x22] as [UInt8]) }
    }

    private struct Document: Codable, Equatable {
        enum Word: String, Codable { case one, two }
        struct Inner: Codable, Equatable { let linkRttMs: Int }

        let displayName: String
        let count: Int64?
        let ratio: Double
        let word: Word
        let labels: [String: String]
        let list: [Inner]
        let any: JSONValue?
    }

    @Test("Documents are made of what was read: names in snake case, labels as they are, any JSON untouched")
    func documents() throws {
        let value = try read(
            """
            {"display_name": "n", "count": null, "ratio": 2, "word": "two", "labels": {"my_label": "v"},
             "list": [{"link_rtt_ms": 3}, {"linkRttMs": 4}], "any": {"key_of_mine": [1]}}
            """
        )
        let document = try JSONValueDecoder.decode(Document.self, from: value)
        #expect(
            document
                == Document(
                    displayName: "n",
                    count: nil,
                    ratio: 2,
                    word: .two,
                    labels: ["my_label": "v"],
                    list: [.init(linkRttMs: 3), .init(linkRttMs: 4)],
                    any: .object(["key_of_mine": .array([.integer(1)])])
                )
        )
    }

    @Test(
        "What is wrong with a document is told by the member's name",
        arguments: [
            (#"{"list": [{"link_rtt_ms": "3"}]}"#, "list.Index 0.link_rtt_ms"), (#"{"list": [{}]}"#, "link_rtt_ms"),
            (#"{"list": [{"link_rtt_ms": 1.5}]}"#, "link_rtt_ms"), (#"{"list": 1}"#, "`list` has the wrong type"),
        ]
    )
    func wrong(json: String, words: String) throws {
        struct Lists: Decodable { let list: [Document.Inner] }
        let error = #expect(throws: HubError.self) { try JSONCoding.decode(Lists.self, from: Data(json.utf8)) }
        #expect(error?.code == .invalidRequest)
        let last = words.split(separator: ".").last.map(String.init) ?? words
        #expect(error?.detail.contains(last) == true, "\(error?.detail ?? "")")
    }
}
