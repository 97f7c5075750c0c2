import FoundationEssentials
import Glibc
import Logging
import SwiftProtobuf
import Synchronization
import WebSocketKitLite
import WireFormat

/// Serves the hub's streams about workspaces, on threads that may wait for the disk.
struct WorkspaceService: WorkspaceHandler {
    /// Of a file on the wire at once, in bytes: long enough that the system calls do not count.
    static let chunkBytes = 128 << 10

    let files: WorkspaceFiles
    let logger: Logger
    let executor: any TaskExecutor
    private let open: OpenOperations

    /// - Parameter executor: other threads that may wait, as of a test.
    init(files: WorkspaceFiles, logger: Logger, executor: (any TaskExecutor)? = nil) {
        self.files = files
        self.logger = logger
        self.executor = executor ?? FileWorkExecutor(label: "edge-agent.workspace")
        open = OpenOperations()
    }

    func serve(_ header: WireStreamHeader, on stream: SessionStream) async {
        let use = OpenOperations.Use(header)
        guard open.begin(use) else {
            stream.reset(.refused, reason: "this node serves \(use.most) \(use.name) already")
            return
        }
        defer { open.end(use) }
        await whileWanted(stream) {
            switch header.kind {
            case .workspace(let request): await serve(request, on: stream)
            case .syncSource(let request):
                await transfer(request.botID, on: stream) { () async throws in
                    try files.rules.check(request.botID, .read, .root)
                    let bot = try files.paths(request.botID)
                    let source = SyncSourceSession(
                        root: try files.root(request.botID),
                        place: bot.workspace,
                        cachePath: bot.digests,
                        takesLinks: request.takesLinks,
                        stream: stream
                    )
                    try await source.run()
                }
            case .syncTarget(let request):
                await transfer(request.botID, on: stream) { () async throws in
                    let bot = try files.paths(request.botID)
                    let target = try SyncTargetSession(
                        request,
                        transfer: try TransferDirectory(bot, id: request.transferID),
                        cachePath: bot.digests,
                        stream: stream,
                        reserveBytes: files.limits.reserveBytes,
                        rules: files.rules
                    )
                    try await target.run()
                }
            default: stream.reset(.unsupported, reason: "this kind of stream is not about workspaces")
            }
        }
    }

    /// Works on a thread that may wait, and breaks off when the hub has let go of the stream or the session has ended: nothing else
    /// would tell work that neither sends nor receives.
    private func whileWanted(_ stream: SessionStream, _ work: @escaping @Sendable () async -> Void) async {
        await withTaskGroup { group in
            // `try?`: cancelled, with the work.
            group.addTask { try? await stream.waitUntilOver() }
            group.addTask(executorPreference: executor) { await work() }
            await group.next()
            group.cancelAll()
        }
    }

    private func serve(_ request: WireWorkspaceRequest, on stream: SessionStream) async {
        do {
            try await perform(request, on: stream)
            stream.finish()
        } catch let failure as WorkspaceFailure {
            // `try?`: the stream ended before it could be told.
            try? await stream.send(message: WireWorkspacePart.with { $0.failure = failure.wire })
            stream.finish()
        } catch {
            // The hub let go, or the session has ended; nothing was changed that was not complete.
            logger.debug("workspace stream ended", metadata: ["bot_id": "\(request.botID)", "reason": "\(error)"])
        }
    }

    /// One side of a transfer; one of a bot at a time.
    private func transfer(_ botID: String, on stream: SessionStream, _ body: () async throws -> Void) async {
        let isFree = open.beginTransfer(of: botID)
        defer { if isFree { open.endTransfer(of: botID) } }
        do {
            guard isFree else {
                throw WorkspaceFailure(.busy, "a transfer of bot \(botID) is under way on this node; wait for its end")
            }
            try await body()
            stream.finish()
            // `try?`: the hub may let go as soon as it has all it wants.
            while let rest = try? await stream.receive() { _ = rest }
        } catch let failure as WorkspaceFailure {
            var message = WireSyncFailure()
            message.code = failure.code.rawValue
            message.message = failure.message
            // `try?`: the stream ended before it could be told.
            try? await stream.send(sync: .failure(message))
            stream.finish()
        } catch {
            // The hub let go, or the session has ended. What has come stays and need not come again.
            logger.info("a transfer was interrupted", metadata: ["bot_id": "\(botID)", "reason": "\(error)"])
        }
    }

    private func perform(_ request: WireWorkspaceRequest, on stream: SessionStream) async throws {
        guard let path = WorkspacePath(request.path) else {
            throw WorkspaceFailure(
                .badPath,
                "a path is names with / between, without ., .. or an empty one; this is none: "
                    + String(decoding: request.path.prefix(200), as: UTF8.self)
            )
        }
        let condition = EntryCondition(request)
        switch request.operation {
        case .stat:
            try await answer(.entry(try files.entry(request.botID, path)), on: stream)
        case .list(let list):
            try await answer(.listing(try files.list(request.botID, path, list)), on: stream)
        case .makeDirectory(let make):
            try await answer(.entry(try files.makeDirectory(request.botID, path, make)), on: stream)
            changed("made", request, path)
        case .remove(let remove):
            try await answer(.entry(try files.remove(request.botID, path, remove, condition)), on: stream)
            changed("removed", request, path)
        case .read(let read):
            try await send(read, request.botID, path, condition, on: stream)
        case .write(let write):
            try await receive(write, request.botID, path, condition, on: stream)
            changed("written", request, path)
        case nil:
            throw WorkspaceFailure(
                .unsupported,
                "this agent (\(AgentVersion.current)) does not know the operation; upgrade it"
            )
        }
    }

    private func changed(_ what: String, _ request: WireWorkspaceRequest, _ path: WorkspacePath) {
        logger.info(
            "a workspace was changed by the hub",
            metadata: ["bot_id": "\(request.botID)", "path": "\(path)", "change": "\(what)"]
        )
    }

    private func answer(_ kind: WireWorkspacePart.OneOf_Kind, on stream: SessionStream) async throws {
        try await stream.send(message: WireWorkspacePart.with { $0.kind = kind })
    }

    private func send(
        _ request: WireReadFile,
        _ botID: String,
        _ path: WorkspacePath,
        _ condition: EntryCondition,
        on stream: SessionStream
    ) async throws {
        let (reader, entry) = try files.open(botID, path)
        try condition.check(EntryFacts(reader.descriptor), path)
        try await answer(.entry(entry), on: stream)
        var offset = min(request.offset, entry.size)
        var end = entry.size
        if request.lastBytes > 0 {
            offset = entry.size.clampedSubtracting(request.lastBytes)
        } else if request.length > 0 {
            end = min(entry.size, offset.clampedAdding(request.length))
        }
        while offset < end {
            try Task.checkCancellation()
            let bytes = try reader.read(Int(clamping: min(end - offset, UInt64(clamping: Self.chunkBytes))), at: offset)
            guard !bytes.isEmpty else {
                throw WorkspaceFailure(.changed, "\(path) was shortened while it was read; read it again")
            }
            var data = WireWorkspaceData()
            data.offset = offset
            data.sha256 = Data(bytes.withUnsafeBytes { SHA256Hasher.digest($0) })
            data.data = Data(bytes)
            try await answer(.data(data), on: stream)
            offset += UInt64(bytes.count)
        }
        guard EntryFacts(reader.descriptor)?.tag == entry.tag else {
            throw WorkspaceFailure(.changed, "\(path) was changed while it was read; read it again")
        }
    }

    private func receive(
        _ request: WireWriteFile,
        _ botID: String,
        _ path: WorkspacePath,
        _ condition: EntryCondition,
        on stream: SessionStream
    ) async throws {
        let replacement = try files.replace(botID, path, request, condition)
        while let part = try await stream.receive(WireWorkspacePart.self) {
            switch part.kind {
            case .data(let data):
                guard data.offset == replacement.length,
                    data.data.withUnsafeBytes({ SHA256Hasher.digest($0) }).elementsEqual(data.sha256)
                else { throw WorkspaceFailure(.badData, "\(path): what arrived is not what was sent; send it again") }
                var failure: WorkspaceFailure?
                data.data.withUnsafeBytes { bytes in
                    do throws(WorkspaceFailure) { try replacement.append(bytes) } catch { failure = error }
                }
                if let failure { throw failure }
            case .written(let written):
                guard written.size == replacement.length, !request.hasSize || request.size == written.size else {
                    throw WorkspaceFailure(
                        .badData,
                        "\(path): \(replacement.length) bytes came, \(written.size) were sent"
                    )
                }
                try await answer(.entry(try replacement.commit()), on: stream)
                return
            case .failure, .entry, .listing, nil:
                throw WorkspaceFailure(.badData, "\(path): an unexpected message instead of the file's content")
            }
        }
        throw WorkspaceFailure(.badData, "\(path): the upload ended before the file was complete; send it again")
    }
}

/// Counts what is under way, by what it is for: readers who take their time do not keep others from listing files, nor bots from
/// moving.
final class OpenOperations: Sendable {
    /// What a stream is for.
    enum Use: Hashable, CaseIterable {
        /// A question or a small change, over in a moment.
        case entry
        /// A file, as fast as somebody takes or gives it.
        case file
        /// A whole workspace.
        case transfer

        init(_ header: WireStreamHeader) {
            guard case .workspace(let request) = header.kind else {
                self = .transfer
                return
            }
            switch request.operation {
            case .read, .write: self = .file
            case .list, .remove, .makeDirectory, .stat, nil: self = .entry
            }
        }

        /// Each may hold a thread and a few hundred KiB.
        var most: Int { 16 }

        var name: String {
            switch self {
            case .entry: "questions about files"
            case .file: "files on their way"
            case .transfer: "workspaces on their way"
            }
        }
    }

    private let counts = Mutex<[Use: Int]>([:])
    private let transfers = Mutex<Set<String>>([])

    /// False where there are as many as may be.
    func begin(_ use: Use) -> Bool {
        counts.withLock { counts in
            guard counts[use, default: 0] < use.most else { return false }
            counts[use, default: 0] += 1
            return true
        }
    }

    func end(_ use: Use) {
        counts.withLock { $0[use, default: 1] -= 1 }
    }

    /// False where one of this bot is under way.
    func beginTransfer(of botID: String) -> Bool {
        transfers.withLock { $0.insert(botID).inserted }
    }

    func endTransfer(of botID: String) {
        transfers.withLock { _ = $0.remove(botID) }
    }
}
