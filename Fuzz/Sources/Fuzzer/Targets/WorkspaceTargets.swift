import SwiftProtobuf
import TestSupport
import WebSocketKitLite
import WireFormat

extension FuzzTarget {
    /// Whatever a source sends, a target takes it by the rules or refuses it, and keeps no more than its limits.
    static let syncTarget = FuzzTarget("sync-target") { input in
        var limits = SyncTargetMachine.Limits()
        limits.maxEntries = 20
        limits.maxFileBytes = 1 << 20
        var machine = SyncTargetMachine(limits: limits)
        var written: [Int: UInt64] = [:]
        while !input.isAtEnd {
            let message = input.bytes(input.int(in: 0...255))
            guard let wire = try? WireSyncMessage(bounded: message), let events = try? machine.receive(wire)
            else { return }
            for event in events {
                switch event {
                case .manifestComplete:
                    for (index, entry) in machine.entries.enumerated() where entry.isFile {
                        if index % 2 == 0 { machine.want(index) } else { machine.wantBlocks(index, basisBytes: 4000) }
                    }
                    machine.finishWants()
                case .begin(let file, _, _): written[file] = 0
                case .piece(let file, let offset, let content):
                    try check(written[file] == offset, "a hole in file \(file)")
                    let length: UInt64 =
                        switch content {
                        case .data(let data): UInt64(data.count)
                        case .zeros(let count): count
                        case .copy(let copy): copy.length
                        }
                    written[file] = offset + length
                case .end(let file, let length, _):
                    try check(written[file] == length, "file \(file) has another length")
                case .sourceDone: try check(machine.openFileCount == 0, "done, with files missing")
                case .failed: return
                }
            }
            try check(machine.entries.count <= limits.maxEntries, "too many entries")
            try check(written.values.allSatisfy { $0 <= limits.maxFileBytes }, "a file too large")
            try check(machine.entries.map(\.path) == machine.entries.map(\.path).sorted(), "entries out of order")
        }
    }

    /// Whatever a target asks for, a source sends each file at most once and only files.
    static let syncSource = FuzzTarget("sync-source") { input in
        let entries = ["a", "b", "d", "d/e"].compactMap { name in
            WorkspacePath(name.utf8).map { ManifestEntry(path: $0, kind: name == "d" ? .directory : .file) }
        }
        var machine = SyncSourceMachine(entries: entries)
        var asked: Set<Int> = []
        while !input.isAtEnd {
            let message = input.bytes(input.int(in: 0...255))
            guard let wire = try? WireSyncMessage(bounded: message), let jobs = try? machine.receive(wire)
            else { return }
            for job in jobs {
                switch job {
                case .whole(let file), .blocks(let file, _):
                    try check(entries.indices.contains(file) && entries[file].isFile, "entry \(file) is no file")
                    try check(asked.insert(file).inserted, "file \(file) twice")
                case .failed: return
                }
                if case .blocks(_, let signature) = job { try check(signature.isComplete, "blocks are missing") }
            }
        }
    }

    /// What is rebuilt from a plan is the file.
    static let blockDelta = FuzzTarget("block-delta") { input in
        let window = 1024 + input.int(in: 0...255) * 16
        let basis = input.payload(sizes: [0, 511, 512, 513, 2000, 5000])
        var file = basis
        for _ in 0..<input.int(in: 0...4) {
            let place = file.isEmpty ? 0 : Int(input.uint16()) % file.count
            switch input.int(in: 0...2) {
            case 0: file.insert(contentsOf: input.bytes(input.int(in: 0...60)), at: place)
            case 1: file.removeSubrange(place..<min(file.count, place + input.int(in: 0...255)))
            default: if !file.isEmpty { file[place] ^= input.byte() }
            }
        }
        guard var signature = BlockSignature(blockBytes: 512, basisBytes: UInt64(basis.count)) else { return }
        for start in stride(from: 0, to: basis.count - 511, by: 512) {
            Array(basis[start..<start + 512]).withUnsafeBytes { signature.append(block: $0, digest: sha256) }
        }
        var matcher = BlockMatcher(signature, digest: sha256)
        var offset = 0
        while true {
            let end = min(file.count, offset + max(window, matcher.minimumWindowBytes))
            offset += Array(file[offset..<end]).withUnsafeBytes { matcher.scan($0, isLast: end == file.count) }
            if end == file.count { break }
        }
        var rebuilt: [UInt8] = []
        for step in matcher.finish().steps {
            switch step {
            case .copy(let from, let length): rebuilt += basis[Int(from)..<Int(from + length)]
            case .literal(let length): rebuilt += file[rebuilt.count..<rebuilt.count + Int(length)]
            }
        }
        try check(rebuilt == file, "rebuilt is another file")
    }

    /// A compressed piece is what was announced, or refused; what this side compresses comes back.
    static let inflatePiece = FuzzTarget("inflate-piece") { input in
        let count = Int(input.uint16())
        let bytes = input.rest()
        if let plain = try? bytes.withUnsafeBytes({ try RawDeflate.inflate($0, count: count) }) {
            try check(plain.count == count, "\(plain.count) bytes instead of \(count)")
        }
        guard let compressed = bytes.withUnsafeBytes({ RawDeflate.compress($0) }) else { return }
        let back = try? compressed.withUnsafeBytes { try RawDeflate.inflate($0, count: bytes.count) }
        try check(back == bytes, "what was compressed came back as something else")
    }
}

private let sha256: Digest256.Function = { Digest256(SHA256Hasher.digest($0)) ?? .zero }
