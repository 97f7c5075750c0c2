/// JSON values that are as long as asked for, each by another kind of content.
public enum JSONBulk: String, Sendable, CaseIterable {
    /// Texts.
    case letters, escapes, pairs, marks
    /// Objects.
    case members, doubled, markedNames, longName
    /// Arrays.
    case texts, numbers, digits, nested, objects

    /// A value of about so many bytes and no more.
    public func value(_ count: Int) -> String {
        switch self {
        case .letters: #""\#(String(repeating: "a", count: count - 2))""#
        case .escapes: #""\#(Self.repeated(count - 2) { _ in #"\u0001"# })""#
        case .pairs: #""\#(Self.repeated(count - 2) { _ in #"\ud83d\ud83d\ude00"# })""#
        // One letter, whose accents have no order that a reader could keep.
        case .marks: #""a\#(Self.marks(count - 3))""#
        case .members: object(count) { #""name-\#($0)":\#($0)"# }
        case .doubled: object(count) { _ in #""name":"value""# }
        case .markedNames: object(count) { #""a\#(Self.marks(200))\#($0)":null"# }
        case .longName: #"{"a\#(Self.marks(count - 7))":0}"#
        case .texts: array(count) { #""text-\#($0)""# }
        case .numbers: array(count) { "\($0 % 10)" }
        case .digits: array(count) { _ in String(repeating: "9", count: 400) + ".5e-9" }
        case .nested: array(count) { _ in String(repeating: "[", count: 50) + String(repeating: "]", count: 50) }
        case .objects:
            array(count) { _ in String(repeating: #"{"a":"#, count: 50) + "1" + String(repeating: "}", count: 50) }
        }
    }

    private func object(_ count: Int, _ member: (Int) -> String) -> String {
        #"{\#(Self.repeated(count - 8) { member($0) + "," })"z":0}"#
    }

    private func array(_ count: Int, _ item: (Int) -> String) -> String {
        "[\(Self.repeated(count - 3) { item($0) + "," })0]"
    }

    private static func marks(_ count: Int) -> String {
        repeated(count) { $0.isMultiple(of: 2) ? "\u{301}" : "\u{316}" }
    }

    /// As many as fit.
    private static func repeated(_ count: Int, _ make: (Int) -> String) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(max(0, count))
        var number = 0
        while true {
            let next = make(number).utf8
            guard bytes.count + next.count <= count, !next.isEmpty else {
                return String(decoding: bytes, as: UTF8.self)
            }
            bytes += next
            number += 1
        }
    }
}
