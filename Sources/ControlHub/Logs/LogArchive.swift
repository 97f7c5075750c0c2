import Foundation
import Glibc
import SwiftProtobuf
import Synchronization
import WireFormat

/// Copies of bots' logs on the hub, for the time when their node is away.
///
/// ```
/// logs/<bot>/<node>/<20-digit offset>.log     one segment; named by the offset of its first line in the bot's log
/// segment: frame, frame, …                    frame: length u32 little-endian, then a LogChunk
/// ```
/// Frames are appended whole; what a crash has cut is taken off when the log is opened again, and fetched again from the
/// node. Beyond the budget the oldest segment of the bot goes. Nothing is synchronised to disk, because the node has it.
actor LogArchive {
    /// A bot's log is dropped in such parts of its budget.
    private static let segmentCount = 8
    private static let lengthBytes = 4

    private struct Key: Hashable {
        let bot: BotID
        let node: NodeID
    }

    /// The end of one log.
    private struct Tail {
        var file: Int32
        var segment: UInt64
        var bytes: Int
        /// Of the log, where to go on.
        var end: UInt64
    }

    /// Where a frame begins.
    struct Position: Sendable {
        fileprivate var segment: UInt64
        fileprivate var byte: Int
        /// Lines of the first frame to leave out.
        fileprivate var skipped = 0
    }

    private let files: HubFolder
    /// Of the logs, in it.
    private let root: String
    private let budgetBytes: Int
    private let executor = QueueExecutor(label: "control-hub.logs")
    private var tails: [Key: Tail] = [:]

    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// - Parameters:
    ///   - directory: made when first needed.
    ///   - budgetBytes: of each bot's log.
    init(directory: String, budgetBytes: Int) {
        (files, root) = HubFolder.split(directory)
        self.budgetBytes = budgetBytes
    }

    deinit {
        for tail in tails.values { close(tail.file) }
    }

    // MARK: Writing

    /// Where to go on reading a bot's log; 0 where nothing is kept.
    func end(_ bot: BotID, on node: NodeID) throws -> UInt64 { try open(Key(bot: bot, node: node))?.end ?? 0 }

    /// Keeps what follows. Throws `storageFull`, or where the file cannot be written; nothing is kept then.
    func append(_ chunk: WireLogChunk, of bot: BotID, on node: NodeID) throws {
        guard let first = chunk.lines.first else { return }
        let key = Key(bot: bot, node: node)
        var tail = try open(key) ?? begin(key, at: first.offset)
        if tail.bytes >= budgetBytes / Self.segmentCount {
            let next = try begin(key, at: max(first.offset, tail.end))
            close(tail.file)
            tail = next
            // `try?`: it goes with the next.
            for old in segments(key).dropLast(Self.segmentCount) { try? files.remove(path(key, old)) }
        }
        let body: Data = try chunk.serializedData()
        var length = UInt32(clamping: body.count).littleEndian
        let frame = Data(bytes: &length, count: Self.lengthBytes) + body
        do {
            try write(frame, to: tail)
            tail.bytes += frame.count
            tail.end = chunk.nextOffset
            tails[key] = tail
        } catch {
            // Half a frame is none.
            ftruncate(tail.file, off_t(clamping: tail.bytes))
            tails[key] = tail
            throw error
        }
    }

    /// Forgets the logs of bots that are not among these.
    func keepOnly(_ bots: Set<BotID>) {
        for (key, tail) in tails where !bots.contains(key.bot) {
            close(tail.file)
            tails[key] = nil
        }
        // Absent where nothing was ever kept.
        for name in (try? files.names(in: root)) ?? [] where !bots.contains(BotID(rawValue: name)) {
            try? files.removeTree("\(root)/\(name)")  // tried again next time
        }
    }

    /// Forgets a bot's log.
    func forget(_ bot: BotID) {
        for (key, tail) in tails where key.bot == bot {
            close(tail.file)
            tails[key] = nil
        }
        try? files.removeTree("\(root)/\(bot.rawValue)")  // absent where nothing was kept
    }

    /// A segment that may go.
    private struct Segment {
        let key: Key
        let offset: UInt64
        let bytes: Int64
        let writtenAt: Date
    }

    /// Keeps the copies of all bots within a size, and each bot's within its own wherever it was placed; the oldest segments of
    /// who has most go first, and never the one that is being written.
    ///
    /// - Parameter since: what was written before goes as well.
    func keep(totalBytes: Int64, since: Date?) {
        var segments = Dictionary(grouping: allSegments(), by: \.key.bot)
        for (bot, own) in segments {
            segments[bot] = own.sorted { $0.writtenAt < $1.writtenAt }.filter { segment in
                guard let since, segment.writtenAt < since else { return true }
                return !drop(segment)
            }
        }
        func bytes(_ own: [Segment]) -> Int64 { own.reduce(0) { $0.clampedAdding($1.bytes) } }
        let sizes = segments.mapValues(bytes)
        // A segment more than the budget is there while the newest is begun.
        let level = min(
            RetentionPlan.level(Array(sizes.values), limit: totalBytes),
            Int64(clamping: budgetBytes + 2 * budgetBytes / Self.segmentCount)
        )
        for (bot, own) in segments {
            var left = sizes[bot] ?? 0
            for segment in own where left > level {
                if drop(segment) { left -= segment.bytes }
            }
        }
    }

    private func drop(_ segment: Segment) -> Bool {
        guard tails[segment.key]?.segment != segment.offset else { return false }
        // `try?`: what cannot be removed is not gone.
        return (try? files.remove(path(segment.key, segment.offset))) != nil
    }

    private func allSegments() -> [Segment] {
        // Absent where nothing is kept.
        func names(_ name: String) -> [String] { (try? files.names(in: name)) ?? [] }
        return names(root).flatMap { bot in
            names("\(root)/\(bot)").flatMap { node -> [Segment] in
                let key = Key(bot: BotID(rawValue: bot), node: NodeID(rawValue: node))
                return segments(key).compactMap { offset in
                    // Gone meanwhile: then it takes nothing.
                    guard let facts = try? files.facts(path(key, offset)) else { return nil }
                    return Segment(key: key, offset: offset, bytes: facts.bytes, writtenAt: facts.modifiedAt)
                }
            }
        }
    }

    // MARK: Reading

    /// What is kept of a log as a node would send it; nil where nothing is.
    nonisolated func subscription(_ request: WireLogRequest, on node: NodeID) async -> LogSubscription? {
        let bot = BotID(rawValue: request.botID)
        guard let start = await position(request, bot, node) else { return nil }
        let cursor = Cursor(start)
        return LogSubscription(
            next: {
                while let position = cursor.position {
                    guard let (chunk, next) = await self.frame(at: position, of: bot, on: node) else { return nil }
                    cursor.advance(to: next)
                    let wanted = Self.cut(chunk, to: request, skipping: position.skipped)
                    if !wanted.lines.isEmpty { return wanted }
                }
                return nil
            },
            cancel: { cursor.cancel() }
        )
    }

    private static func cut(_ chunk: WireLogChunk, to request: WireLogRequest, skipping count: Int) -> WireLogChunk {
        var chunk = chunk
        chunk.lines.removeFirst(min(count, chunk.lines.count))
        if case .fromOffset(let offset) = request.start { chunk.lines.removeAll { $0.offset < offset } }
        if request.toOffset > 0 { chunk.lines.removeAll { $0.offset >= request.toOffset } }
        if request.sinceUnixMs > 0 { chunk.lines.removeAll { $0.atUnixMs < request.sinceUnixMs } }
        return chunk
    }

    private func position(_ request: WireLogRequest, _ bot: BotID, _ node: NodeID) -> Position? {
        let key = Key(bot: bot, node: node)
        let segments = segments(key)
        guard let first = segments.first else { return nil }
        switch request.start {
        case .tailLines(let count): return tail(key, segments, lines: Int(clamping: count))
        case .fromOffset(let offset): return Position(segment: segments.last { $0 <= offset } ?? first, byte: 0)
        case nil: return Position(segment: first, byte: 0)
        }
    }

    private func tail(_ key: Key, _ segments: [UInt64], lines wanted: Int) -> Position? {
        var found = 0
        for segment in segments.reversed() {
            var frames: [(byte: Int, lines: Int)] = []
            var byte = 0
            while let (chunk, length) = frame(path(key, segment), at: byte) {
                frames.append((byte, chunk.lines.count))
                byte += length
            }
            for frame in frames.reversed() {
                found += frame.lines
                guard found < wanted else {
                    return Position(segment: segment, byte: frame.byte, skipped: found - wanted)
                }
            }
        }
        return segments.first.map { Position(segment: $0, byte: 0) }
    }

    private func frame(at position: Position, of bot: BotID, on node: NodeID) -> (WireLogChunk, Position)? {
        next(Key(bot: bot, node: node), position)
    }

    /// The frame at a position, or the first of the next segment where this one has no more.
    private func next(_ key: Key, _ position: Position) -> (WireLogChunk, Position)? {
        if let (chunk, length) = frame(path(key, position.segment), at: position.byte) {
            return (chunk, Position(segment: position.segment, byte: position.byte + length))
        }
        guard let next = segments(key).first(where: { $0 > position.segment }),
            let (chunk, length) = frame(path(key, next), at: 0)
        else { return nil }
        return (chunk, Position(segment: next, byte: length))
    }

    private func frame(_ path: String, at byte: Int) -> (WireLogChunk, length: Int)? {
        guard let file = try? files.open(path, O_RDONLY) else { return nil }  // not there: nothing is kept
        defer { close(file) }
        let size = Int(clamping: lseek(file, 0, SEEK_END))
        guard let head = read(file, Self.lengthBytes, at: byte) else { return nil }
        let length = Int(clamping: UInt32(littleEndian: head.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }))
        // Checked before anything is allocated for it.
        guard byte + Self.lengthBytes + length <= size,
            let body = read(file, length, at: byte + Self.lengthBytes),
            let chunk = try? WireLogChunk(bounded: body)  // a damaged frame ends what can be read
        else { return nil }
        return (chunk, Self.lengthBytes + length)
    }

    private func read(_ file: Int32, _ count: Int, at byte: Int) -> Data? {
        var data = Data(count: count)
        var filled = 0
        while filled < count {
            let got = data.withUnsafeMutableBytes {
                pread(file, $0.baseAddress.map { $0 + filled }, count - filled, off_t(clamping: byte + filled))
            }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { return nil }
            filled += got
        }
        return data
    }

    // MARK: Files

    private func folder(_ key: Key) -> String { "\(root)/\(key.bot.rawValue)/\(key.node.rawValue)" }

    private func path(_ key: Key, _ segment: UInt64) -> String {
        let digits = String(segment)
        return "\(folder(key))/\(String(repeating: "0", count: 20 - digits.count))\(digits).log"
    }

    private func segments(_ key: Key) -> [UInt64] {
        // Absent where nothing is kept.
        let names = (try? files.names(in: folder(key))) ?? []
        return names.filter { $0.hasSuffix(".log") }.compactMap { UInt64(decimal: $0.dropLast(4)) }.sorted()
    }

    /// The end of what is kept; nil where nothing is.
    private func open(_ key: Key) throws -> Tail? {
        if let tail = tails[key] { return tail }
        guard let last = segments(key).last else { return nil }
        var position = Position(segment: last, byte: 0)
        var end = last
        while let (chunk, length) = frame(path(key, last), at: position.byte) {
            position.byte += length
            end = chunk.nextOffset
        }
        let file = try open(path(key, last), O_WRONLY)
        ftruncate(file, off_t(clamping: position.byte))
        let tail = Tail(file: file, segment: last, bytes: position.byte, end: end)
        tails[key] = tail
        return tail
    }

    private func begin(_ key: Key, at offset: UInt64) throws -> Tail {
        do {
            try files.makeFolder(folder(key))
        } catch {
            throw HubError(.storageFull, "The log of bot \(key.bot) cannot be kept in \(folder(key)).", cause: error)
        }
        let file = try open(path(key, offset), O_WRONLY | O_CREAT)
        return Tail(file: file, segment: offset, bytes: 0, end: offset)
    }

    private func open(_ name: String, _ flags: Int32) throws -> Int32 {
        do throws(HubFolder.Failure) {
            return try files.open(name, flags)
        } catch {
            throw HubError(.storageFull, "\(error.path) cannot be written: \(error.reason).")
        }
    }

    private func write(_ frame: Data, to tail: Tail) throws {
        var written = 0
        while written < frame.count {
            let count = frame.withUnsafeBytes {
                pwrite(
                    tail.file,
                    $0.baseAddress.map { $0 + written },
                    $0.count - written,
                    off_t(clamping: tail.bytes + written)
                )
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("the copy of a log") }
            written += count
        }
    }

    private func failure(_ path: String) -> HubError {
        HubError(.storageFull, "\(path) cannot be written: \(String(cString: strerror(errno))). Free some space.")
    }
}

/// Where a reader of the archive is; nil once it was cancelled.
private final class Cursor: Sendable {
    private let state: Mutex<LogArchive.Position?>

    init(_ position: LogArchive.Position) { state = Mutex(position) }

    var position: LogArchive.Position? { state.withLock { $0 } }

    func advance(to next: LogArchive.Position) {
        state.withLock { position in position = position == nil ? nil : next }
    }

    func cancel() { state.withLock { $0 = nil } }
}
