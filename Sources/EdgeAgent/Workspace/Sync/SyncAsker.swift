import FoundationEssentials
import SwiftProtobuf
import Synchronization
import WireFormat

/// Asks the source for files: whole ones by their numbers, others by the checksums of the blocks that are here.
struct SyncAsker: Sendable {
    /// Files asked for in one message.
    private static let wishBatch = 1024
    /// Blocks in one message.
    private static let signatureBatch = 3000

    /// A file to ask for.
    struct Wish: Sendable {
        let file: Int
        let presentIndex: Int
        let byBlocks: Bool
    }

    let entries: [ManifestEntry]
    let finder: BasisFinder
    let machine: SyncTargetSession.Machine
    let stream: SessionStream

    /// Asks for everything, and says that this was all.
    func ask(_ wishes: [Wish]) async throws {
        var wants = WireSyncWants()
        for wish in wishes {
            try Task.checkCancellation()
            if wish.byBlocks, let basis = finder.basis(entries[wish.file].path, presentIndex: wish.presentIndex),
                let signature = try Self.signature(of: basis)
            {
                // In the order of the tree, so that the source reads its disk in one go.
                try await flush(&wants)
                machine.state.withLock { $0.wantBlocks(wish.file, basisBytes: signature.basisBytes) }
                try await send(signature, of: wish.file)
            } else {
                wants.files.append(UInt32(clamping: wish.file))
                if wants.files.count >= Self.wishBatch { try await flush(&wants) }
            }
        }
        try await flush(&wants)
        machine.state.withLock { $0.finishWants() }
        wants.isLast = true
        try await stream.send(sync: .wants(wants))
    }

    private func flush(_ wants: inout WireSyncWants) async throws {
        guard !wants.files.isEmpty else { return }
        machine.state.withLock { [wants] machine in
            for file in wants.files { machine.want(Int(clamping: file)) }
        }
        try await stream.send(sync: .wants(wants))
        wants = WireSyncWants()
    }

    private static func signature(of basis: BasisFinder.Basis) throws -> BlockSignature? {
        let size = BlockSignature.blockBytes(forFileOf: basis.facts.size)
        guard var signature = BlockSignature(blockBytes: size, basisBytes: basis.facts.size) else { return nil }
        var buffer = [UInt8](repeating: 0, count: max(size, (1 << 20) / size * size))
        var offset: UInt64 = 0
        while !signature.isComplete {
            try Task.checkCancellation()
            let count = try buffer.withUnsafeMutableBytes { bytes in
                let count = try basis.reader.read(into: bytes, at: offset)
                var start = 0
                while start + size <= count, !signature.isComplete {
                    let block = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[start..<start + size])
                    signature.append(block: block, digest: ContentDigest.function)
                    start += size
                }
                return count
            }
            // Shorter than it was: no basis.
            guard count == buffer.count || signature.isComplete else { return nil }
            offset += UInt64(clamping: count)
        }
        return signature
    }

    private func send(_ signature: BlockSignature, of file: Int) async throws {
        var next = 0
        repeat {
            let end = min(next + Self.signatureBatch, signature.strong.count)
            var part = WireSyncSignature()
            part.file = UInt32(clamping: file)
            part.blockBytes = UInt32(clamping: signature.blockBytes)
            part.basisBytes = signature.basisBytes
            part.sums = Data(signature.encodedSums(next..<end))
            part.isLast = end == signature.strong.count
            try await stream.send(sync: .signature(part))
            next = end
        } while next < signature.strong.count
    }
}
