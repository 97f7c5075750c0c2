/// A path below a workspace, as bytes: components with `/` between, none of them empty, `.` or `..`, no NUL.
///
/// Ordered so that a directory comes before what it holds, and all it holds before its next sibling.
public struct WorkspacePath: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Longer ones are refused, in bytes. Four times what one system call takes, for trees that grew by `cd`.
    public static let maxBytes = 16 * 1024
    /// The longest name Linux file systems keep, in bytes.
    public static let maxNameBytes = 255

    /// The path without a slash at either end; empty for the workspace itself.
    public let bytes: [UInt8]

    /// The workspace itself.
    public static let root = WorkspacePath(unchecked: [])

    /// Nil unless the bytes are such a path.
    public init?(_ bytes: some Sequence<UInt8>) {
        let bytes = Array(bytes)
        guard bytes.count <= Self.maxBytes else { return nil }
        if !bytes.isEmpty {
            for name in bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
                guard Self.isName(name) else { return nil }
            }
        }
        self.bytes = bytes
    }

    private init(unchecked bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// Whether the bytes name an entry of a directory.
    public static func isName(_ name: some Collection<UInt8>) -> Bool {
        guard !name.isEmpty, name.count <= maxNameBytes else { return false }
        if name.elementsEqual([0x2E]) || name.elementsEqual([0x2E, 0x2E]) { return false }
        return !name.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
    }

    /// Whether it is the workspace itself.
    public var isRoot: Bool { bytes.isEmpty }

    /// The last component; empty for the workspace itself.
    public var name: ArraySlice<UInt8> {
        bytes.lastIndex(of: UInt8(ascii: "/")).map { bytes[($0 + 1)...] } ?? bytes[...]
    }

    /// The directory that holds it; the workspace's own is itself.
    public var parent: WorkspacePath {
        bytes.lastIndex(of: UInt8(ascii: "/")).map { WorkspacePath(unchecked: Array(bytes[..<$0])) } ?? .root
    }

    /// The components, from the outermost.
    public var components: [ArraySlice<UInt8>] { bytes.split(separator: UInt8(ascii: "/")) }

    /// The path of an entry of this directory; nil unless `name` is a name and the path not too long.
    public func appending(_ name: some Collection<UInt8>) -> WorkspacePath? {
        guard Self.isName(name), bytes.count + 1 + name.count <= Self.maxBytes else { return nil }
        return WorkspacePath(unchecked: isRoot ? Array(name) : bytes + [UInt8(ascii: "/")] + name)
    }

    /// Whether a symbolic link at this path with this text stays inside the workspace whatever else lies there.
    ///
    /// `..` counts only at the beginning: after a name it could follow another link and lead anywhere.
    public func keepsInside(link text: some Collection<UInt8>) -> Bool {
        guard let first = text.first, first != UInt8(ascii: "/"), !text.contains(0) else { return false }
        var depth = components.count - 1
        var isPastName = false
        for part in text.split(separator: UInt8(ascii: "/")) {
            if part.elementsEqual([0x2E]) { continue }
            if part.elementsEqual([0x2E, 0x2E]) {
                depth -= 1
                guard !isPastName, depth >= 0 else { return false }
            } else {
                isPastName = true
            }
        }
        return true
    }

    /// For people: what is no UTF-8 shows as U+FFFD; the workspace itself as `.`.
    public var description: String { isRoot ? "." : String(decoding: bytes, as: UTF8.self) }

    /// Tree order; see the type.
    public static func < (left: WorkspacePath, right: WorkspacePath) -> Bool {
        for (a, b) in zip(left.bytes, right.bytes) where a != b {
            // The slash sorts before every byte that can stand in a name.
            if a == UInt8(ascii: "/") { return true }
            if b == UInt8(ascii: "/") { return false }
            return a < b
        }
        return left.bytes.count < right.bytes.count
    }
}
