/// What must be done to make one tree like another.
public struct ManifestDiff: Sendable, Equatable {
    /// What is to become of a wanted entry.
    public enum Action: Sendable, Equatable {
        /// It is as it should be.
        case keep
        /// Content or link are right; mode or time are not.
        case attributes
        /// It is made: a directory, a link.
        case make
        /// The whole file is fetched.
        case fetch
        /// The file is fetched as far as it differs from the one that is there.
        case update
        /// The file that is there must be read to know: size and wanted digest are known, its own digest is not.
        case compare
    }

    /// For each wanted entry what to do, in the same order.
    public private(set) var actions: [Action] = []
    /// For each wanted entry the index of the present one of the same path, -1 where there is none.
    public private(set) var presentIndex: [Int] = []
    /// Indices of present entries to remove, a directory after what it holds. An entry of another kind is removed, too.
    public private(set) var removals: [Int] = []

    /// Below this size a file is fetched whole, in bytes: asking for its blocks costs as much.
    public static let minimumUpdateBytes: UInt64 = 64 << 10

    /// - Parameters:
    ///   - wanted: in tree order.
    ///   - present: in tree order.
    public init(wanted: [ManifestEntry], present: [ManifestEntry]) {
        actions.reserveCapacity(wanted.count)
        presentIndex.reserveCapacity(wanted.count)
        var next = 0
        for entry in wanted {
            while next < present.count, present[next].path < entry.path {
                removals.append(next)
                next += 1
            }
            guard next < present.count, present[next].path == entry.path else {
                actions.append(entry.isFile ? .fetch : .make)
                presentIndex.append(-1)
                continue
            }
            let action = Self.action(wanted: entry, present: present[next])
            if !Self.canStay(wanted: entry, present: present[next]) { removals.append(next) }
            actions.append(action)
            presentIndex.append(next)
            next += 1
        }
        removals.append(contentsOf: next..<present.count)
        // A directory sorts before what it holds.
        removals.reverse()
    }

    /// Whether the present entry is of a kind that the wanted one can take the place of without it being removed first.
    private static func canStay(wanted: ManifestEntry, present: ManifestEntry) -> Bool {
        (wanted.kind == .directory) == (present.kind == .directory)
    }

    private static func action(wanted: ManifestEntry, present: ManifestEntry) -> Action {
        switch (wanted.kind, present.kind) {
        case (.directory, .directory): sameAttributes(wanted, present) ? .keep : .attributes
        case (.symlink(let text), .symlink(let old)): text == old ? .keep : .make
        case (.file, .file): fileAction(wanted, present)
        // Whether it is still the same file the shell knows only by looking.
        case (.hardLink, _): .make
        case (.file, _): .fetch
        default: .make
        }
    }

    private static func fileAction(_ wanted: ManifestEntry, _ present: ManifestEntry) -> Action {
        guard let digest = wanted.digest else { return change(wanted, present) }
        guard wanted.size == present.size else { return change(wanted, present) }
        guard let own = present.digest else { return .compare }
        guard own == digest else { return change(wanted, present) }
        return sameAttributes(wanted, present) ? .keep : .attributes
    }

    private static func change(_ wanted: ManifestEntry, _ present: ManifestEntry) -> Action {
        min(wanted.size, present.size) >= minimumUpdateBytes ? .update : .fetch
    }

    /// Permissions and time of change.
    public static func sameAttributes(_ one: ManifestEntry, _ other: ManifestEntry) -> Bool {
        one.mode == other.mode && one.modifiedNanoseconds == other.modifiedNanoseconds
    }
}
