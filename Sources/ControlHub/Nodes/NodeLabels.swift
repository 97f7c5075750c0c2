import Foundation

/// What operators stick on nodes to find them again: names with values.
enum NodeLabels {
    static let maximumCount = 32
    static let maximumNameBytes = 63
    static let maximumValueBytes = 128
    static let namePattern = "^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$"

    /// Throws `invalidRequest` where a name or value is not possible.
    static func checked(_ labels: [String: String]) throws -> [String: String] {
        guard labels.count <= maximumCount else {
            throw HubError(.invalidRequest, "A node can have at most \(maximumCount) labels, not \(labels.count).")
        }
        for (name, value) in labels {
            guard isName(name) else {
                throw HubError(
                    .invalidRequest,
                    "`\(name.prefix(80))` cannot be a label's name: 1 to \(maximumNameBytes) of a-z 0-9 . _ / -, "
                        + "beginning and ending with a letter or digit."
                )
            }
            guard value.utf8.count <= maximumValueBytes else {
                throw HubError(
                    .invalidRequest,
                    "The value of `\(name)` must have at most \(maximumValueBytes) bytes."
                )
            }
            try NamePolicy.requireVisible(value, field: "labels.\(name)")
        }
        return labels
    }

    private static func isName(_ name: String) -> Bool {
        func isWord(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard let first = name.utf8.first, let last = name.utf8.last, name.utf8.count <= maximumNameBytes else {
            return false
        }
        return isWord(first) && isWord(last) && name.utf8.allSatisfy { isWord($0) || "._/-".utf8.contains($0) }
    }
}
