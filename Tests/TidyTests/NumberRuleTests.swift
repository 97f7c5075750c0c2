import Testing

@Suite("The rules about numbers can fail")
struct NumberRuleTests {
    private static let fields: Set = ["receivedAtUnixMs", "sequence", "offset"]

    private func found(_ text: String, in path: String = "Sources/EdgeAgent/Link/A.swift") -> [Violation] {
        NumberRules.violations(in: SourceFile(path: path, text: text), fields: Self.fields)
    }

    @Test(
        "What traps on a number that does not fit is found",
        arguments: [
            "let a = Int(b)", "Int64(wire.receivedAtUnixMs)", "UInt32(a + b)", "Int((a * 10).rounded())",
            "UInt64(text)",
            "off_t(position)", "pid_t(number(1))", "(1...Int64(b))", "a.map(Int64.init)",
            "numbers.compactMap(UInt64.init)",
            #""after \(Int(limit.seconds)) s""#, ##"#"{"a":\#(UInt64(b))}"#"##, "UInt32(bytes.count)", "Int8(byte)",
            "Int(text, radix: 10)",
            "Duration.seconds(body.ttlSeconds)", ".milliseconds(welcome.heartbeatIntervalMs)", ".map { .seconds($0) }",
            "try WireHello(serializedBytes: bytes)", "try WireHello(serializedData: data)",
            "sqlite3_column_int64(statement, 0)", "Date(timeIntervalSince1970: Double(a))",
            "try JSONDecoder().decode(Report.self, from: data)", "let decoder = JSONDecoder()",
            "abs(offset)", "packet.sequence - 1", "end - packet.sequence", "now -= wire.receivedAtUnixMs",
            "(packet.offset - begin)", "seconds * 1_000_000_000", "a *= 1_000_000", "2 * packet.sequence",
            "Int(b) // fits", "// it fits: not a reason here\n\nInt(b)",
        ]
    )
    func traps(text: String) {
        #expect(found(text).count == 1, "\(text)")
    }

    @Test(
        "What cannot trap, and what says why it fits, is left alone",
        arguments: [
            "Int(clamping: b)", "UInt64(saturating: seconds)", "Int(decimal: text)", "UInt8(truncatingIfNeeded: a)",
            "Int32(exactly: a)", "UInt64(bitPattern: a)", "Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)",
            "UInt64(bytes.count)", "Int(byte >> 4)", "UInt64(byte)", "UInt64(0)", "Int(UInt32.max)",
            "UInt8(ascii: \"a\")",
            "Int(clamping: a)...Int(clamping: b)", "a.map(Int64.init(clamping:))", "print(a)", "type.Int(b)",
            "Point(a)",
            "UInt8(text, radix: 16)", "\"Int(b) in a text\"", "// Int(b)",
            ".seconds(15 * 60)", ".milliseconds(250)", "Duration.seconds(clamping: a)", "Self.seconds(a)",
            "time.seconds",
            "try WireHello(bounded: bytes)", "try JSONDecoder().decode(JSONValue.self, from: data)",
            "offset.magnitude", "packet.sequence + 1", "packet.sequence.clampedSubtracting(1)", "sequence - 1",
            "bytes.count - 1", "seconds * 1000",
            "Int(b)  // fits: checked above", "// fits: two digits\nInt(b)",
            "// fits: a reason\n// of two lines\nInt(b)",
        ]
    )
    func harmless(text: String) {
        #expect(found(text) == [], "\(text)")
    }

    @Test("The places that bring numbers within their bounds may do what they are there for, and only that")
    func homes() {
        #expect(found("JSONDecoder()", in: "Sources/EdgeAgent/System/OutsideJSON.swift") == [])
        #expect(found("Int(b)", in: "Sources/WebSocketKit-Lite/Codec/Masking.swift") == [])
        #expect(found("JSONDecoder()", in: "Sources/WebSocketKit-Lite/Codec/Masking.swift").count == 1)
        #expect(found("Int(b)", in: "Sources/EdgeAgent/System/OutsideJSON.swift").count == 1)
    }

    @Test("The whole numbers of messages are read off their description")
    func fieldNames() {
        let proto = """
            message A {
              uint64 received_at_unix_ms = 1;  // when
              optional sint64 offset = 2;
              repeated uint32 files = 3;
              double load_1m = 4;
              string name = 5;
              uint64 count = 6;
            }
            """
        #expect(NumberRules.wholeNumberFields(of: proto) == ["receivedAtUnixMs", "offset", "files"])
    }
}
