import Foundation

/// Checks the names people give to nodes, bots, operators, conversations and labels.
enum NamePolicy {
    /// Fits a table column on a phone, and a log line.
    static let maximumCharacters = 64

    /// `name` without space around it. Throws `HubError` when it is empty, too long, holds what nobody sees, or could be taken for
    /// an id.
    static func checked(_ name: String, field: String = "name") throws -> String {
        let trimmed = name.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !trimmed.isEmpty else {
            throw HubError(.invalidRequest, "`\(field)` is empty. Give it 1 to \(maximumCharacters) characters.")
        }
        guard trimmed.count <= maximumCharacters, trimmed.utf8.count <= maximumCharacters * 4 else {
            throw HubError(.invalidRequest, "`\(field)` is too long. Give it 1 to \(maximumCharacters) characters.")
        }
        try requireVisible(trimmed, field: field)
        guard !isLikeID(trimmed) else {
            throw HubError(
                .invalidRequest,
                "`\(field)` looks like an id of this hub, \(trimmed): nobody could tell which of both is meant. Choose another name."
            )
        }
        return trimmed
    }

    /// Throws `invalidRequest` for text that does not look like what it is: two could look the same, or one like another.
    static func requireVisible(_ text: String, field: String) throws {
        let found =
            HiddenCharacters.first(in: text)
            ?? text.unicodeScalars.first {
                // Spaces that look like the one that is meant; the wide one is that of East Asia.
                $0.properties.generalCategory == .spaceSeparator && $0 != " " && $0 != "\u{3000}"
            }
        guard let found else { return }
        throw HubError(
            .invalidRequest,
            "`\(field)` holds a character that is not seen, or not as what it is (\(HiddenCharacters.code(found))). Leave it out."
        )
    }

    /// Whether a text is made as this hub's ids are: a word, and 26 of their alphabet.
    static func isLikeID(_ text: String) -> Bool {
        let parts = text.split(separator: "_", omittingEmptySubsequences: false)
        guard parts.count == 2, let kind = parts.first, let rest = parts.last else { return false }
        return !kind.isEmpty && kind.utf8.allSatisfy { (0x61...0x7A).contains($0) } && IDShape.isTail(rest)
    }
}
