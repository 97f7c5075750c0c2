import HTTPTypes
import WireFormat

/// Entity tags in headers (RFC 9110 §8.8.3).
enum EntityTags {
    /// In place of what is no tag: it matches nothing, so that the condition does not vanish with it.
    static let malformed = "?"

    /// The tags of a list, without quotes; `*` as it is.
    ///
    /// - Parameter isWeak: compared weakly, as `If-None-Match` is (RFC 9110 §13.1.2): `W/"a"` is as good as `"a"`, for example
    ///   because a proxy has made it weak. Strongly, a weak one matches nothing.
    static func list(_ value: String?, isWeak: Bool = false) -> [String] {
        guard let value else { return [] }
        return value.split(separator: ",").compactMap { part in
            let tag = part.trimmingPrefix { $0 == " " || $0 == "\t" }
            let trimmed = tag.reversed().drop { $0 == " " || $0 == "\t" }.reversed()
            var text = String(trimmed)
            if text == "*" { return text }
            if isWeak, text.hasPrefix("W/") { text.removeFirst(2) }
            guard text.hasPrefix("\""), text.hasSuffix("\""), text.count >= 2 else { return malformed }
            return String(text.dropFirst().dropLast())
        }
    }
}

/// What a reader has already and what it wants (RFC 9110 §13, §14).
struct ReadConditions {
    let part: WorkspaceOperations.Part
    private let ifNoneMatch: [String]
    private let ifRange: String?

    init(_ headers: HTTPFields) {
        ifNoneMatch = EntityTags.list(headers[.ifNoneMatch], isWeak: true)
        ifRange = headers[.ifRange]
        part = headers[.range].flatMap(Self.part) ?? .whole
    }

    /// One range; several, another unit and what cannot be read are as good as none.
    private static func part(_ value: String) -> WorkspaceOperations.Part? {
        guard value.hasPrefix("bytes=") else { return nil }
        let ends = value.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, ends.allSatisfy({ $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }) else {
            return nil
        }
        // Digits alone: a number beyond all files is as good as the largest.
        func number(_ digits: Substring) -> UInt64? {
            digits.isEmpty ? nil : UInt64(decimal: digits) ?? OutsideBounds.count.upperBound
        }
        switch (number(ends[0]), number(ends[1])) {
        case (let first?, let last?) where first <= last: return .from(first, through: last)
        case (let first?, nil) where ends[1].isEmpty: return .from(first, through: nil)
        case (nil, let count?) where ends[0].isEmpty: return .last(count)
        default: return nil
        }
    }

    func isUnchanged(_ tag: String) -> Bool { ifNoneMatch.contains(tag) || ifNoneMatch.contains("*") }

    func wantsPart(of tag: String) -> Bool {
        guard let ifRange else { return true }
        return EntityTags.list(ifRange) == [tag]
    }
}

extension WorkspaceOperations.Part {
    /// Which bytes of a file it is; nil where there are none of them.
    func bytes(of size: UInt64) -> Range<UInt64>? {
        switch self {
        case .whole: return 0..<size
        case .from(let first, let last):
            guard first < size else { return nil }
            return first..<(last.map { min($0 + 1, size) } ?? size)
        case .last(let count):
            guard count > 0, size > 0 else { return nil }
            return (size - min(count, size))..<size
        }
    }
}
