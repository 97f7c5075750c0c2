// The side of a transfer that has the workspace. No I/O.
//
//     asked ──wants, signatures …──► asked ──isLast──► all known ──jobs done──► end is sent

/// Takes what the target wants and turns it into jobs, in the order asked.
public struct SyncSourceMachine: Sendable {
    /// A file to send.
    public enum Job: Sendable, Equatable {
        case whole(file: Int)
        case blocks(file: Int, BlockSignature)
        /// The target gave up.
        case failed(code: String, message: String)
    }

    private let isFile: [Bool]
    private var isAsked: [Bool]
    private var assembling: (file: Int, signature: BlockSignature)?
    /// Nothing more will be asked for.
    public private(set) var isFinished = false

    /// - Parameter entries: the manifest as it was sent.
    public init(entries: [ManifestEntry]) {
        isFile = entries.map(\.isFile)
        isAsked = [Bool](repeating: false, count: entries.count)
    }

    /// Takes one message.
    public mutating func receive(_ message: WireSyncMessage) throws(SyncViolation) -> [Job] {
        guard !isFinished else { throw SyncViolation("a message after the last wish") }
        switch message.body {
        case .wants(let wants):
            guard assembling == nil else { throw SyncViolation("wishes within a signature") }
            var jobs: [Job] = []
            jobs.reserveCapacity(wants.files.count)
            for file in wants.files {
                try ask(Int(clamping: file))
                jobs.append(.whole(file: Int(clamping: file)))
            }
            isFinished = wants.isLast
            return jobs
        case .signature(let part): return try receive(part)
        case .failure(let failure):
            isFinished = true
            return [.failed(code: failure.code, message: failure.message)]
        case .manifest, .data, .end, .progress, .report, .deflated:
            throw SyncViolation("a message that a target does not send to a source")
        case nil: return []
        }
    }

    private mutating func ask(_ file: Int) throws(SyncViolation) {
        guard isFile.indices.contains(file), isFile[file] else { throw SyncViolation("entry \(file) is no file") }
        guard !isAsked[file] else { throw SyncViolation("file \(file) is asked for twice") }
        isAsked[file] = true
    }

    private mutating func receive(_ part: WireSyncSignature) throws(SyncViolation) -> [Job] {
        let file = Int(clamping: part.file)
        var signature: BlockSignature
        if let assembling {
            guard assembling.file == file else { throw SyncViolation("signatures of two files at once") }
            signature = assembling.signature
        } else {
            try ask(file)
            guard let new = BlockSignature(blockBytes: Int(clamping: part.blockBytes), basisBytes: part.basisBytes)
            else {
                throw SyncViolation("a signature with blocks of \(part.blockBytes) bytes of \(part.basisBytes)")
            }
            signature = new
        }
        assembling = nil
        guard signature.append(encodedSums: part.sums) else {
            throw SyncViolation("a signature that is cut off or too long")
        }
        guard part.isLast else {
            assembling = (file, signature)
            return []
        }
        guard signature.isComplete else { throw SyncViolation("a signature with blocks missing") }
        return [.blocks(file: file, signature)]
    }
}
