import FoundationEssentials
import TestSupport
import Testing

@testable import EdgeAgent

@Suite struct JSONScannerTests {
    private func isObject(_ text: String) -> Bool { PacketFields.isObject(Array(text.utf8)) }

    @Test(
        "What is no JSON object is refused",
        arguments: [
            "{", "}", "{}}", "{,}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{a:1}"#, #"{"a":01}"#, #"{"a":1.}"#,
            #"{"a":.5}"#, #"{"a":+1}"#, #"{"a":1e}"#, #"{"a":tru}"#, #"{"a":nul}"#, #"{"a":"\x"}"#, #"{"a":"\u12g4"}"#,
            #"{"a":"\u12"#, "{\"a\":\"\u{1}\"}", #"{"a":[1,]}"#, #"{"a":[1 2]}"#, #"{"a":{]}"#, #"{"a":1}x"#,
            "\u{FEFF}{}",
        ]
    )
    func refused(_ text: String) {
        #expect(!isObject(text))
    }

    @Test(
        "What is one is taken",
        arguments: [
            "{}", " {\t} ", #"{"a":-0.5e+3,"b":[[],{}],"c":true,"d":null,"e":"\u00e9\n\/"}"#, #"{"":0}"#,
            #"{"a":"é\ud83d\ude00"}"#, #"{"a":1E9}"#,
        ]
    )
    func taken(_ text: String) {
        #expect(isObject(text))
    }

    @Test("Nesting beyond the limit is refused, not followed")
    func depth() {
        #expect(isObject(#"{"a":"# + String(repeating: "[", count: 60) + String(repeating: "]", count: 60) + "}"))
        #expect(
            !isObject(#"{"a":"# + String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000) + "}")
        )
    }

    @Test("Bytes that are no UTF-8 are refused")
    func encoding() {
        #expect(!PacketFields.isObject([0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D]))
    }

    @Test("Names and values come out unescaped, and half a surrogate pair does no harm")
    func values() throws {
        let fields = try #require(
            PacketFields(
                Array(
                    #"{"ty\u0070e":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x","seq":7,"ts":1.5e3,"error":[1]}"#.utf8
                )
            )
        )
        #expect(fields.type == "a\"\\/\u{8}\u{C}\n\r\té😀\u{FFFD}x")
        #expect(fields.sequence == 7 && fields.timeUnixMilliseconds == 1_500 && fields.error == nil)
        #expect(PacketFields(Array(#"{"type":"a","type":"b"}"#.utf8))?.type == "b")
        #expect(PacketFields(Array(#"{"seq":-1,"ts":1e400}"#.utf8))?.sequence == 0)
    }

    @Test("It judges as Foundation's decoder does, over texts broken at random", arguments: 1...20)
    func agrees(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let whole = Array(#"{"type":"tick","n":[1,-2.5e3,{"a":null,"b":true}],"text":"a\u00e9\n b","e":{}}"#.utf8)
        for _ in 0..<300 {
            var text = whole
            for _ in 0..<(1 + random.next() % 2) {
                let at = Int(random.next() % UInt64(text.count))
                let alphabet = Array(#"{}[]",:\e1-.0 tfnu"#.utf8)
                switch random.next() % 3 {
                case 0: text.remove(at: at)
                case 1: text[at] = alphabet[Int(random.next() % UInt64(alphabet.count))]
                default: text.insert(alphabet[Int(random.next() % UInt64(alphabet.count))], at: at)
                }
            }
            let theirs = (try? JSONDecoder().decode([String: Anything].self, from: Data(text))) != nil
            let string = String(decoding: text, as: UTF8.self)
            // Foundation takes a comma before the end, which the RFC does not.
            guard !string.contains(",}"), !string.contains(",]") else { continue }
            #expect(PacketFields.isObject(text) == theirs, "\(string)")
        }
    }
}

/// Decodes whatever there is, so that the decoder looks at all of it.
private struct Anything: Decodable {
    init(from decoder: any Decoder) throws {
        if let values = try? [String: Anything](from: decoder) {
            _ = values
        } else if let values = try? [Anything](from: decoder) {
            _ = values
        } else {
            let value = try decoder.singleValueContainer()
            guard !value.decodeNil() else { return }
            if (try? value.decode(Bool.self)) != nil || (try? value.decode(Double.self)) != nil { return }
            _ = try value.decode(String.self)
        }
    }
}
