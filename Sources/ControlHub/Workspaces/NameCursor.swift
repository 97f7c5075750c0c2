import Foundation

/// Where a page of a directory's list ends: the last name, which need not be text. Opaque to who gets it, and of characters
/// that mean themselves in every part of an address, so that it is the same for clients that encode and for those that do not.
enum NameCursor {
    /// No file system has longer names.
    private static let lengths = 1...400

    static func text(_ name: [UInt8]) -> String { SecretBytes.base64URL(name) }

    /// Reads one back; nil for what is none.
    static func name(_ text: String) -> [UInt8]? {
        guard let name = SecretBytes.bytes(base64URL: text), lengths.contains(name.count) else { return nil }
        return name
    }
}
