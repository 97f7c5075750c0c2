/// Where the symbolic links of a tree lead, found out from its manifest alone: nothing is opened, and no link is followed on a disk.
public struct LinkDestinations: Sendable {
    /// As the kernel, which follows no more.
    private static let mostLinks = 40
    /// Of paths that are looked at for all links of a tree together, in bytes: far more than links of people take, and a second.
    private static let mostBytes = 64 << 20
    /// What a name costs beside its bytes.
    private static let nameBytes = 64

    /// Where one link leads.
    public enum Destination: Sendable, Equatable {
        /// Somewhere in the tree, whether there is something or not.
        case inside
        /// Out of the tree, by this path: absolute, or relative with more `..` than there are directories. One that nobody can
        /// follow to its end counts as well.
        case outside([UInt8])
    }

    private let texts: [WorkspacePath: [UInt8]]
    private var bytesLeft = mostBytes

    /// - Parameter entries: of the whole tree.
    public init(_ entries: [ManifestEntry]) {
        var texts: [WorkspacePath: [UInt8]] = [:]
        for entry in entries {
            if case .symlink(let text) = entry.kind { texts[entry.path] = text }
        }
        self.texts = texts
    }

    /// Where a link leads by its own text. What lies behind another link of the tree at the end of it is that link's own matter;
    /// one in the middle, behind which the text goes up again, is followed. A tree that was made to take for ever has links that
    /// nobody follows: they count as leading out.
    public mutating func destination(of path: WorkspacePath, text: [UInt8]) -> Destination {
        // It never goes up behind a name, so whatever leads out on the way is a link of its own that does.
        if path.keepsInside(link: text) { return .inside }
        guard text.first != UInt8(ascii: "/"), bytesLeft > 0 else { return .outside(text) }
        var place = path.parent
        var rest = Array(Self.names(text).reversed())
        var linksLeft = Self.mostLinks
        while let name = rest.popLast() {
            bytesLeft -= place.bytes.count + name.count + Self.nameBytes
            guard bytesLeft > 0 else { return .outside(text) }
            if name.elementsEqual([0x2E, 0x2E]) {
                guard !place.isRoot else { return .outside(text) }
                place = place.parent
                continue
            }
            guard let next = place.appending(name) else { return .outside(text) }
            guard !rest.isEmpty, let other = texts[next] else {
                place = next
                continue
            }
            linksLeft -= 1
            guard linksLeft > 0 else { return .outside(text) }
            guard other.first != UInt8(ascii: "/") else {
                return .outside(Array(([other[...]] + rest.reversed()).joined(separator: [UInt8(ascii: "/")])))
            }
            bytesLeft -= other.count
            rest += Self.names(other).reversed()
        }
        return .inside
    }

    private static func names(_ text: [UInt8]) -> [ArraySlice<UInt8>] {
        text.split(separator: UInt8(ascii: "/")).filter { !$0.elementsEqual([0x2E]) }
    }
}

extension WorkspacePath {
    /// The longest text the kernel keeps of a symbolic link, in bytes.
    public static let maxLinkBytes = 4095

    /// Whether the bytes can be the text of a symbolic link, wherever that leads.
    public static func isLinkText(_ text: some Collection<UInt8>) -> Bool {
        !text.isEmpty && text.count <= maxLinkBytes && !text.contains(0)
    }

    /// The text of a link at this path that leads to the same place as an absolute one, below a directory that goes by this name and
    /// is the workspace. Nil where the text leads elsewhere, or goes up on its way, which only who follows it can judge.
    public func relativeLink(_ text: [UInt8], workspace: [UInt8]) -> [UInt8]? {
        guard text.first == UInt8(ascii: "/"), workspace.first == UInt8(ascii: "/"), !isRoot else { return nil }
        func names(_ text: [UInt8]) -> [ArraySlice<UInt8>] {
            text.split(separator: UInt8(ascii: "/")).filter { !$0.elementsEqual([0x2E]) }
        }
        let (parts, own) = (names(text), names(workspace))
        guard !parts.contains(where: { $0.elementsEqual([0x2E, 0x2E]) }),
            parts.starts(with: own, by: { $0.elementsEqual($1) })
        else { return nil }
        let up = [ArraySlice<UInt8>](repeating: [0x2E, 0x2E], count: components.count - 1)
        let relative = Array((up + parts.dropFirst(own.count)).joined(separator: [UInt8(ascii: "/")]))
        return relative.isEmpty ? [0x2E] : Self.isLinkText(relative) ? relative : nil
    }
}
