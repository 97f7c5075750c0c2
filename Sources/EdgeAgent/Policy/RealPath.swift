import Glibc

/// The real path of what exists.
enum RealPath {
    /// Behind every symbolic link; nil where there is nothing.
    static func of(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// As ``of(_:)``; of what does not exist yet, the real path of the nearest folder that does, with the rest behind it.
    static func ofPossible(_ path: String, resolve: (String) -> String? = RealPath.of) -> String {
        var folder = PathText.normalized(path)
        var rest = ""
        while folder != "/" {
            if let real = resolve(folder) { return PathText.normalized(real + rest) }
            guard let slash = folder.lastIndex(of: "/") else { break }
            rest = folder[slash...] + rest
            folder = slash == folder.startIndex ? "/" : String(folder[..<slash])
        }
        return PathText.normalized(path)
    }

    /// The real path of an open file or directory, whatever has been renamed since; as bytes, because names may be any.
    static func bytes(of descriptor: Int32) -> [UInt8]? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count)
        return count > 0 ? buffer.prefix(count).map(UInt8.init(bitPattern:)) : nil
    }
}

/// A path walked component by component: where it ends, and every symbolic link on the way.
///
/// Whoever can replace one of the links decides where the path ends, so each of them counts as the file itself.
struct WalkedPath: Sendable, Equatable {
    /// As the kernel, which follows no more.
    private static let maximumLinks = 40

    /// A directory that goes by another name where the path is used: a workspace as a container sees it, or the tree that is
    /// to take its place.
    struct Alias: Sendable {
        let name: String
        let place: String
    }

    /// Real paths of the links, their own last name not followed.
    private(set) var links: [String] = []
    /// Where it ends; where something is missing, the rest stands behind what is there.
    private(set) var end = "/"
    /// The last name as it stands in its real folder: a link where that is one, else the end.
    private(set) var last = "/"
    /// Nobody can say where a path leads that goes round in circles.
    private(set) var isEndless = false

    /// - Parameters:
    ///   - path: absolute; `..` means what the kernel means by it.
    ///   - readLink: the text of a symbolic link; nil for anything else.
    init(_ path: String, aliases: [Alias] = [], readLink: (String) -> String? = WalkedPath.linkText) {
        var rest = Array(path.split(separator: "/").reversed())
        var isLastKnown = false
        while let part = rest.popLast() {
            if part == "." { continue }
            if part == ".." {
                end = Self.parent(end)
                continue
            }
            let next = end == "/" ? "/" + part : end + "/" + part
            if let alias = aliases.first(where: { $0.name == next }) {
                end = alias.place
                if rest.isEmpty, !isLastKnown { (last, isLastKnown) = (end, true) }
                continue
            }
            if rest.isEmpty, !isLastKnown { (last, isLastKnown) = (next, true) }
            guard let text = readLink(next) else {
                end = next
                continue
            }
            links.append(next)
            guard links.count <= Self.maximumLinks else {
                isEndless = true
                return
            }
            if text.hasPrefix("/") { end = "/" }
            rest += text.split(separator: "/").reversed()
        }
    }

    private static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    static func linkText(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink(path, &buffer, buffer.count)
        guard count > 0 else { return nil }
        return String(decoding: buffer.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
