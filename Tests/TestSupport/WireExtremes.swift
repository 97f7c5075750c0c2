/// The messages of `node.proto`, read from its text, so that a test meets each number of each message without knowing them:
/// one that is added later is met as well.
public struct WireExtremes: Sendable {
    /// One field of a message.
    struct Field: Sendable {
        var name: String
        var number: UInt64
        var type: String
        var oneof: String?
        var isRepeated = false
    }

    /// A message with one number at an extreme.
    public struct Case: Sendable, CustomStringConvertible {
        /// From the outermost message to the number: `heartbeat.resources.sampled_at_unix_ms`.
        public var path: String
        /// The extreme, in words.
        public var value: String
        /// The message in Protocol Buffers' encoding.
        public var bytes: [UInt8]

        /// For a test that fails.
        public var description: String { "\(path) = \(value)" }
    }

    /// The numbers of a message that are not the one that is meant.
    public enum Others: Sendable, CaseIterable {
        case absent, one
    }

    /// Whole numbers at and around every limit, as 64 bits.
    public static let wholes: [UInt64] = [
        0, 1, .max, .max - 1, 1 << 31 - 1, 1 << 31, 1 << 32 - 1, 1 << 53, 1 << 53 + 1, 1 << 63 - 1, 1 << 63,
        1 << 63 + 1,
        253_402_300_799_999, 253_402_300_800_000,
    ]
    /// Real numbers that are none, and that are too large for anything.
    public static let reals: [Double] = [0, -1, .nan, .infinity, -.infinity, 1e308, -1e308, 0x1p53, 0x1p63, 5e-324]

    /// By the message's name.
    private(set) var messages: [String: [Field]] = [:]
    private(set) var enums: Set<String> = []
    let texts: [String: String]

    /// - Parameters:
    ///   - proto: the text of the file.
    ///   - texts: what strings and bytes hold, by the field's name, such as ids that must exist; others are empty.
    public init(proto: String, texts: [String: String] = [:]) {
        self.texts = texts
        var scopes: [(kind: String, name: String)] = []
        for line in proto.split(separator: "\n") {
            let code = line.prefix { $0 != "/" }
            var words = code.split { " {;=".contains($0) }.map(String.init)
            let isRepeated = words.first == "repeated"
            if isRepeated || words.first == "optional" { words.removeFirst() }
            if code.contains("{"), words.count >= 2 {
                scopes.append((words[0], words[1]))
                if words[0] == "enum" { enums.insert(words[1]) }
                if words[0] == "message" { messages[words[1]] = [] }
            } else if code.contains("map<"), words.count >= 4, let number = UInt64(words[3]),
                let owner = scopes.last(where: { $0.kind == "message" })?.name
            {
                messages[owner]?.append(Field(name: words[2], number: number, type: "map", isRepeated: true))
            } else if words.count >= 3, let number = UInt64(words[2]),
                let owner = scopes.last(where: { $0.kind == "message" })?.name, scopes.last?.kind != "enum"
            {
                let oneof = scopes.last.flatMap { $0.kind == "oneof" ? $0.name : nil }
                messages[owner]?.append(
                    Field(name: words[1], number: number, type: words[0], oneof: oneof, isRepeated: isRepeated)
                )
            }
            if code.contains("}") { scopes.removeLast() }
        }
    }

    /// Messages of this kind, one for each number in it and in what it holds, and each extreme.
    ///
    /// - Parameters:
    ///   - kinds: of a message that is one of several kinds, the kinds that are meant; empty: all.
    ///   - others: what all other numbers are.
    public func cases(of message: String, only kinds: Set<String> = [], others: Others = .one) -> [Case] {
        paths(of: message)
            .filter { kinds.isEmpty || kinds.contains($0.first?.name ?? "") }
            .flatMap { path in
                let last = path.last?.type ?? ""
                let name = path.map(\.name).joined(separator: ".")
                let values: [(String, [UInt8])] =
                    last == "double"
                    ? Self.reals.map { ("\($0)", Self.fixed($0.bitPattern)) }
                    : Self.wholes.map { value in
                        let signed = last.hasPrefix("sint") ? value << 1 ^ (value >> 63 == 1 ? .max : 0) : value
                        return (last.hasPrefix("u") ? "\(value)" : "\(Int64(bitPattern: value))", Self.varint(signed))
                    }
                return values.map { Case(path: name, value: $0.0, bytes: encode(message, path[...], $0.1, others)) }
            }
    }

    private func paths(of message: String, depth: Int = 0) -> [[Field]] {
        guard depth < 8 else { return [] }
        return (messages[message] ?? []).flatMap { field -> [[Field]] in
            if messages[field.type] != nil { return paths(of: field.type, depth: depth + 1).map { [field] + $0 } }
            return isNumber(field.type) ? [[field]] : []
        }
    }

    func isNumber(_ type: String) -> Bool {
        type == "double" || type.hasSuffix("int32") || type.hasSuffix("int64")
    }

    /// The message with everything that can be set, and the number at the path's end as given.
    private func encode(
        _ message: String,
        _ path: ArraySlice<Field>,
        _ value: [UInt8],
        _ others: Others
    ) -> [UInt8] {
        let target = path.first
        var bytes: [UInt8] = []
        var filled: Set<String> = target?.oneof.map { [$0] } ?? []
        for field in messages[message] ?? [] {
            if field.number == target?.number {
                if messages[field.type] != nil {
                    bytes += Self.delimited(field.number, encode(field.type, path.dropFirst(), value, others))
                } else {
                    bytes += Self.varint(field.number << 3 | (field.type == "double" ? 1 : 0)) + value
                }
                continue
            }
            if let oneof = field.oneof, !filled.insert(oneof).inserted { continue }
            bytes += plain(field, others)
        }
        return bytes
    }

    func plain(_ field: Field, _ others: Others) -> [UInt8] {
        switch field.type {
        // Such as conditions, which would keep everything else from being looked at.
        case "string" where field.isRepeated: []
        case "string", "bytes": Self.delimited(field.number, Array((texts[field.name] ?? "").utf8))
        case "bool": []
        case _ where others == .absent && isNumber(field.type): []
        case "double": Self.varint(field.number << 3 | 1) + Self.fixed((1.5).bitPattern)
        case _ where isNumber(field.type) || enums.contains(field.type): Self.varint(field.number << 3) + [1]
        case _ where messages[field.type] != nil: Self.delimited(field.number, encode(field.type, [], [], others))
        default: []
        }
    }

    static func varint(_ value: UInt64) -> [UInt8] {
        var (bytes, rest) = ([UInt8](), value)
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return bytes + [UInt8(truncatingIfNeeded: rest)]
    }

    static func fixed(_ bits: UInt64) -> [UInt8] { withUnsafeBytes(of: bits.littleEndian) { Array($0) } }

    static func delimited(_ number: UInt64, _ content: [UInt8]) -> [UInt8] {
        varint(number << 3 | 2) + varint(UInt64(content.count)) + content
    }
}
