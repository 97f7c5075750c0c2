/// Messages of `node.proto` that are as large as asked for by one of their fields, for each field that can be made large: what they cost
/// their reader is to grow with their bytes and with nothing else.
extension WireExtremes {
    /// What the field is full of.
    public enum Filling: String, Sendable, CaseIterable {
        /// Of texts.
        case escapes, marks, members, nested, markedName, markedWord
        /// Of lists and maps.
        case empty, alike, different
        /// The field comes again and again, though one counts.
        case again
    }

    /// A message that can be made as large as one likes.
    public struct Bulk: Sendable, CustomStringConvertible {
        /// From the outermost message to the field.
        public let path: String
        /// What the field is full of.
        public let filling: Filling
        fileprivate let make: @Sendable (Int) -> [UInt8]

        /// The message in Protocol Buffers' encoding, in about so many bytes and no more.
        public func bytes(_ count: Int) -> [UInt8] { make(count) }

        /// For a test that fails.
        public var description: String { "\(path) of \(filling)" }
    }

    /// Messages that no other message holds: what is sent by itself.
    public var roots: Set<String> {
        let held = Set(messages.values.joined().map(\.type))
        return Set(messages.keys).subtracting(held)
    }

    /// Of a message that is one of several kinds, their names.
    public func kinds(of message: String) -> Set<String> {
        Set((messages[message] ?? []).filter { $0.oneof != nil }.map(\.name))
    }

    /// A message for each field that can be made large, and each way to do so.
    ///
    /// - Parameter kinds: of a message that is one of several kinds, the kinds that are meant; empty: all.
    public func bulks(of message: String, only kinds: Set<String> = []) -> [Bulk] {
        let unknown = Bulk(path: "\(message): what is not known", filling: .again) { count in
            Self.repeated(count) { _ in Self.delimited(9_999, Array("?".utf8)) }
        }
        return growing(message)
            .filter { kinds.isEmpty || kinds.contains($0.first?.name ?? "") }
            .flatMap { path -> [Bulk] in
                guard let last = path.last else { return [] }
                let name = "\(message): " + path.map(\.name).joined(separator: ".")
                return fillings(of: last).map { filling in
                    Bulk(path: name, filling: filling) { count in
                        let around = wrapped(message, path[...], []).count + 8 * path.count
                        return wrapped(message, path[...], content(last, filling, max(0, count - around)))
                    }
                }
            } + [unknown]
    }

    private func growing(_ message: String, depth: Int = 0) -> [[Field]] {
        guard depth < 8 else { return [] }
        return (messages[message] ?? []).flatMap { field -> [[Field]] in
            let inner = messages[field.type] == nil ? [] : growing(field.type, depth: depth + 1).map { [field] + $0 }
            return (fillings(of: field).isEmpty ? [] : [[field]]) + inner
        }
    }

    private func fillings(of field: Field) -> [Filling] {
        switch field.type {
        case "string" where field.isRepeated, "bytes" where field.isRepeated: [.empty, .alike, .different]
        case "string", "bytes":
            (field.name.hasSuffix("json") ? [.members, .nested, .markedName, .markedWord] : [.escapes, .marks]) + [
                .again
            ]
        case "map": [.empty, .alike, .different]
        case _ where messages[field.type] != nil: field.isRepeated ? [.empty, .alike, .different] : [.again]
        case _ where field.isRepeated: [.alike, .different]
        default: []
        }
    }

    /// The message with everything that can be set, and this in the place of the path's last field.
    private func wrapped(_ message: String, _ path: ArraySlice<Field>, _ content: [UInt8]) -> [UInt8] {
        guard let target = path.first else { return content }
        return (messages[message] ?? []).reduce(into: [UInt8]()) { bytes, field in
            if field.number == target.number {
                let inner = path.dropFirst()
                bytes += inner.isEmpty ? content : Self.delimited(field.number, wrapped(field.type, inner, content))
            } else if field.oneof == nil {
                bytes += plain(field, .one)
            }
        }
    }

    /// The field in so many bytes.
    private func content(_ field: Field, _ filling: Filling, _ count: Int) -> [UInt8] {
        func texts(_ make: (Int) -> [UInt8]) -> [UInt8] {
            Self.repeated(count) { Self.delimited(field.number, make($0)) }
        }
        switch (field.type, filling) {
        case (_, .empty), (_, .again): return texts { _ in [] }
        case ("map", let filling):
            return texts { number in
                let key = filling == .alike ? "key" : "key-\(number)"
                return Self.delimited(1, Array(key.utf8)) + Self.delimited(2, Array("value".utf8))
            }
        case ("string", _) where field.isRepeated, ("bytes", _) where field.isRepeated:
            return texts { Array((filling == .alike ? "text" : "text-\($0)").utf8) }
        case ("string", _), ("bytes", _): return Self.delimited(field.number, Self.text(filling, count))
        case (let type, .alike) where messages[type] != nil:
            let one = element(type, nil)
            return texts { _ in one }
        case (let type, .different) where messages[type] != nil: return texts { element(type, UInt64($0)) }
        // Numbers, one by one and in a row.
        case (_, .alike): return Self.repeated(count) { _ in Self.varint(field.number << 3) + [1] }
        default: return Self.delimited(field.number, Self.repeated(count) { Self.varint(UInt64($0)) })
        }
    }

    /// A message in a list, with all that can be set.
    ///
    /// - Parameter number: what is different in each; nil where all are alike.
    private func element(_ message: String, _ number: UInt64?) -> [UInt8] {
        var filled: Set<String> = []
        return (messages[message] ?? []).reduce(into: [UInt8]()) { bytes, field in
            if let oneof = field.oneof, !filled.insert(oneof).inserted { return }
            guard let number, !field.name.hasSuffix("json") else { return bytes += plain(field, .one) }
            switch field.type {
            case "string", "bytes":
                bytes += Self.delimited(field.number, Array("\(texts[field.name] ?? "")\(number)".utf8))
            case _ where messages[field.type] != nil: bytes += Self.delimited(field.number, element(field.type, number))
            case _ where isNumber(field.type) && field.type != "double":
                bytes += Self.varint(field.number << 3) + Self.varint(number)
            default: bytes += plain(field, .one)
            }
        }
    }

    /// As many as fit.
    private static func repeated(_ count: Int, _ make: (Int) -> [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        var number = 0
        while true {
            let next = make(number)
            guard bytes.count + next.count <= count, !next.isEmpty else { return bytes }
            bytes += next
            number += 1
        }
    }

    /// A text of so many bytes.
    public static func text(_ filling: Filling, _ count: Int) -> [UInt8] {
        switch filling {
        // Each of them takes six bytes in JSON.
        case .escapes: repeated(count) { _ in [1] }
        // One letter, whose accents have no order that a reader could keep.
        case .marks where count > 8:
            Array("a".utf8) + repeated(count - 1) { Array(($0 % 2 == 0 ? "\u{301}" : "\u{316}").utf8) }
        case .members: Array("{".utf8) + repeated(count - 8) { Array(#""\#($0)":0,"#.utf8) } + Array(#""z":0}"#.utf8)
        case .markedName: Array(#"{"state":"#.utf8) + Array(JSONBulk.longName.value(count - 12).utf8) + Array("}".utf8)
        case .markedWord: Array(#"{"state":"#.utf8) + Array(JSONBulk.marks.value(count - 12).utf8) + Array("}".utf8)
        case .nested:
            Array(#"{"z":["#.utf8)
                + repeated(count - 10) { _ in
                    Array((String(repeating: "[", count: 60) + String(repeating: "]", count: 60) + ",").utf8)
                } + Array("0]}".utf8)
        default: [UInt8](repeating: 0x61, count: count)
        }
    }
}
