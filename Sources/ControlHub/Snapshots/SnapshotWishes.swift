import WireFormat

/// What a target wants of a snapshot that it is given. It has every file whole, so of the blocks that the target has the hub
/// remembers nothing.
struct SnapshotWishes: Sendable {
    private enum Wish: UInt8, Sendable { case noFile, open, wanted }

    /// A byte for each entry of the manifest.
    private var wishes: [Wish] = []
    /// The file whose blocks the target is telling.
    private var signing: Int?
    /// Nothing more will be asked for.
    private(set) var isFinished = false

    /// The next entry of the manifest.
    mutating func add(_ entry: ManifestEntry) { wishes.append(entry.isFile ? .open : .noFile) }

    func isWanted(_ file: UInt32) -> Bool {
        let file = Int(clamping: file)
        return wishes.indices.contains(file) && wishes[file] == .wanted
    }

    /// Takes one message of the target.
    mutating func receive(_ message: WireSyncMessage) throws(SyncViolation) {
        guard !isFinished else { throw SyncViolation("a message after the last wish") }
        switch message.body {
        case .wants(let wants)?:
            guard signing == nil else { throw SyncViolation("wishes within a signature") }
            for file in wants.files { try want(Int(clamping: file)) }
            isFinished = wants.isLast
        case .signature(let part)?:
            let file = Int(clamping: part.file)
            if let signing {
                guard signing == file else { throw SyncViolation("signatures of two files at once") }
            } else {
                try want(file)
            }
            signing = part.isLast ? nil : file
        // Of a later version.
        case nil: break
        default: throw SyncViolation("a message that a target does not send to a source")
        }
    }

    private mutating func want(_ file: Int) throws(SyncViolation) {
        guard wishes.indices.contains(file), wishes[file] != .noFile else {
            throw SyncViolation("entry \(file) is no file")
        }
        guard wishes[file] == .open else { throw SyncViolation("file \(file) is asked for twice") }
        wishes[file] = .wanted
    }
}
