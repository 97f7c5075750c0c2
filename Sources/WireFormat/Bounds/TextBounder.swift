/// Holds a message's bytes within `WireBounds`: reads Protocol Buffers' encoding as far as lengths and numbers of fields, and
/// copies only where something has to be left out.
struct TextBounder {
    /// The bytes are no message.
    struct Malformed: Error {}

    private(set) var excess = WireExcess()

    /// - Returns: nil where the message is within its bounds.
    mutating func bound(_ bytes: UnsafeRawBufferPointer, _ bounds: MessageBounds) throws(Malformed) -> [UInt8]? {
        var reader = Reader(bytes: bytes)
        var counts: [Int] = []
        var result: [UInt8] = []
        var copied = 0
        while reader.at < bytes.count {
            let start = reader.at
            let tag = try reader.varint()
            guard tag & 7 == 2 else {
                try reader.skip(wireType: tag & 7)
                continue
            }
            let content = try reader.content()
            // What is not known is dropped when the message is decoded.
            guard let field = bounds[tag >> 3] else { continue }
            if field.most != .max {
                if counts.isEmpty { counts = Array(repeating: 0, count: bounds.fieldCount) }
                let number = Int(clamping: tag >> 3)
                counts[number] += 1
                if counts[number] > field.most {
                    note(bounds, tag)
                    result += bytes[copied..<start]
                    copied = reader.at
                    continue
                }
            }
            let slice = UnsafeRawBufferPointer(rebasing: bytes[content])
            guard let replacement = try replacement(for: slice, field.kind) else { continue }
            result += bytes[copied..<start]
            copied = reader.at
            switch replacement {
            case .nothing: note(bounds, tag)
            case .text(let text):
                note(bounds, tag)
                Self.append(text, tag: tag, to: &result)
            case .message(let message): Self.append(message, tag: tag, to: &result)
            }
        }
        return copied == 0 ? nil : result + bytes[copied...]
    }

    private enum Replacement {
        case nothing
        case text([UInt8])
        case message([UInt8])
    }

    /// - Returns: nil where the field stays as it is.
    private mutating func replacement(
        for content: UnsafeRawBufferPointer,
        _ kind: MessageBounds.Kind
    ) throws(Malformed) -> Replacement? {
        switch kind {
        case .numbers: nil
        case .text(let most): content.count <= most ? nil : .text(Self.cut(content, to: most))
        case .message(let inner): try bound(content, inner).map(Replacement.message)
        case .pair(let key, let value): try Self.fits(content, key: key, value: value) ? nil : .nothing
        }
    }

    private mutating func note(_ bounds: MessageBounds, _ tag: UInt64) {
        excess.add("\(bounds.name).\(tag >> 3)")
    }

    /// Whether the name and the text of a pair are as long as they may be; numbers have no length.
    private static func fits(_ content: UnsafeRawBufferPointer, key: Int, value: Int) throws(Malformed) -> Bool {
        var reader = Reader(bytes: content)
        while reader.at < content.count {
            let tag = try reader.varint()
            guard tag & 7 == 2 else {
                try reader.skip(wireType: tag & 7)
                continue
            }
            let length = try reader.content().count
            if tag >> 3 == 1, length > key { return false }
            if tag >> 3 == 2, length > value { return false }
        }
        return true
    }

    /// The beginning of a text that fits together with the mark, cut at a character's boundary.
    private static func cut(_ text: UnsafeRawBufferPointer, to most: Int) -> [UInt8] {
        let mark = Array(WireBounds.mark.utf8)
        var end = max(0, most - mark.count)
        // The bytes of one character but the first begin with 10; of what is no UTF-8 nothing is to be kept whole.
        for _ in 0..<3 where end > 0 && text[end] & 0xC0 == 0x80 { end -= 1 }
        return Array(text[..<end]) + mark
    }

    private static func append(_ content: [UInt8], tag: UInt64, to bytes: inout [UInt8]) {
        append(tag, to: &bytes)
        append(UInt64(content.count), to: &bytes)
        bytes += content
    }

    private static func append(_ varint: UInt64, to bytes: inout [UInt8]) {
        var rest = varint
        while rest > 0x7F {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }
}

/// Goes through the fields of one message.
private struct Reader {
    let bytes: UnsafeRawBufferPointer
    private(set) var at = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func varint() throws(TextBounder.Malformed) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard at < bytes.count else { throw TextBounder.Malformed() }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return value }
        }
        throw TextBounder.Malformed()
    }

    /// Where the content of a field lies that begins with its length.
    mutating func content() throws(TextBounder.Malformed) -> Range<Int> {
        let length = try varint()
        guard length <= UInt64(clamping: bytes.count - at) else { throw TextBounder.Malformed() }
        let start = at
        at += Int(clamping: length)
        return start..<at
    }

    /// Skips a field of another kind. Groups are of an older language than ours.
    mutating func skip(wireType: UInt64) throws(TextBounder.Malformed) {
        switch wireType {
        case 0: _ = try varint()
        case 1: try skip(bytes: 8)
        case 5: try skip(bytes: 4)
        default: throw TextBounder.Malformed()
        }
    }

    private mutating func skip(bytes count: Int) throws(TextBounder.Malformed) {
        guard bytes.count - at >= count else { throw TextBounder.Malformed() }
        at += count
    }
}
