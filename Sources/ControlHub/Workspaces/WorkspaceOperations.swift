import Crypto
import Foundation
import NIOCore
import SwiftProtobuf
import WireFormat

/// Bots' files, which lie on their nodes. The hub keeps none of them, not even for the time of a request: what comes
/// from one side goes to the other as fast as that takes it.
struct WorkspaceOperations: Sendable {
    let bots: BotOperations
    let channel: any AgentChannel
    let audit: AuditStore
    let clock: HubClock
    private let patience: NodePatience
    private let openFiles = OpenFiles()

    init(
        bots: BotOperations,
        channel: any AgentChannel,
        audit: AuditStore,
        clock: HubClock,
        patience: NodePatience = NodePatience()
    ) {
        (self.bots, self.channel, self.audit, self.clock, self.patience) = (bots, channel, audit, clock, patience)
    }

    /// How long the agent may take for its next message.
    static let answerTimeout = Duration.seconds(30)
    /// Of a file on the wire at once, in bytes.
    static let chunkBytes = 128 << 10

    /// Under what condition something is done.
    struct Condition: Sendable {
        /// Tags of which the entry must have one; `*` stands for any. Empty: no condition.
        var tags: [String] = []
        var isAbsent = false
    }

    /// Which part of a file.
    enum Part: Sendable, Equatable {
        case whole
        case from(UInt64, through: UInt64?)
        case last(UInt64)
    }

    /// A file on its way.
    struct Reading: Sendable {
        let entry: WireWorkspaceEntry
        /// The next bytes; nil after the last.
        let next: @Sendable () async throws -> ByteBuffer?
        /// Lets the node's side go; may be called more than once and after the end.
        let cancel: @Sendable () -> Void
    }

    // MARK: - Looking

    /// Throws `notFound`, `nodeOffline`, `forbidden`, `agentTimeout`, as everything below.
    func list(_ id: BotID, _ path: [UInt8], after: [UInt8], limit: Int) async throws -> WireWorkspaceListing {
        let answer = try await ask(id, path) { request in
            request.list.after = Data(after)
            request.list.limit = UInt32(clamping: limit)
        }
        guard case .listing(let listing) = answer else { throw Self.unexpected }
        // Clients make paths of them.
        guard listing.entries.allSatisfy({ WorkspacePath.isName($0.name) }) else {
            throw HubError(
                .transferFailed,
                "The node listed a name that no directory can contain: empty, `.`, `..`, with a slash or NUL, or longer than "
                    + "\(WorkspacePath.maxNameBytes) bytes. Check the node's agent and its file system."
            )
        }
        return listing
    }

    func entry(_ id: BotID, _ path: [UInt8]) async throws -> WireWorkspaceEntry {
        let answer = try await ask(id, path) { $0.stat = WireStatEntry() }
        guard case .entry(let entry) = answer else { throw Self.unexpected }
        return entry
    }

    /// Opens a file for reading. Whoever reads calls `cancel` when done. Throws `tooManyStreams`.
    func read(
        _ id: BotID,
        _ path: [UInt8],
        _ part: Part,
        _ condition: Condition,
        by actor: Actor
    ) async throws -> Reading {
        let end = try openFiles.begin(try await bots.store.bot(id).nodeID, actor)
        do {
            return try await read(id, path, part, condition, end)
        } catch {
            end()
            throw error
        }
    }

    private func read(
        _ id: BotID,
        _ path: [UInt8],
        _ part: Part,
        _ condition: Condition,
        _ end: @escaping @Sendable () -> Void
    ) async throws -> Reading {
        let stream = try await open(id, path, condition) { request in
            switch part {
            case .whole: request.read = WireReadFile()
            case .from(let first, let last):
                request.read.offset = first
                if let last { request.read.length = last - first + 1 }
            case .last(let count): request.read.lastBytes = count
            }
        }
        do {
            guard case .entry(let entry) = try await next(stream) else { throw Self.unexpected }
            return Reading(
                entry: entry,
                next: { try await nextData(stream) },
                cancel: {
                    stream.reset(.cancelled, "nobody reads any more")
                    end()
                }
            )
        } catch {
            stream.reset(.cancelled, "")
            throw error
        }
    }

    private func nextData(_ stream: AgentStream) async throws -> ByteBuffer? {
        guard let message = try await receive(stream) else { return nil }
        switch message {
        case .data(let data):
            guard Data(SHA256.hash(data: data.data)) == data.sha256 else {
                stream.reset(.malformed, "a digest does not fit")
                throw HubError(.transferFailed, "What arrived is not what the node sent. Try again.")
            }
            return ByteBuffer(bytes: data.data)
        case .failure(let failure): throw WorkspaceErrors.error(failure)
        case .entry, .listing, .written: throw Self.unexpected
        }
    }

    // MARK: - Changing

    /// Replaces or makes a file from a body that comes piece by piece.
    ///
    /// Throws `tooManyStreams` as well.
    ///
    /// - Parameter size: of the file where it is known.
    /// - Returns: the new entry.
    func write<Body: AsyncSequence & Sendable>(
        _ id: BotID,
        _ path: [UInt8],
        size: UInt64?,
        _ condition: Condition,
        body: Body,
        by actor: Actor
    ) async throws -> WireWorkspaceEntry where Body.Element == ByteBuffer {
        let end = try openFiles.begin(try await bots.store.bot(id).nodeID, actor)
        defer { end() }
        let stream = try await open(id, path, condition) { request in
            request.write = WireWriteFile()
            if let size { request.write.size = size }
            request.write.makeParents = true
        }
        defer { stream.reset(.cancelled, "") }
        // The node may refuse in the middle; whoever sends is then told at once and not after the last byte.
        let entry = try await patience.wait(atMost: patience.file) { watch in
            try await send(body, on: stream, watch)
        }
        try await record("workspace.write", id, path, by: actor, detail: "\(entry.size) bytes")
        return entry
    }

    private func send<Body: AsyncSequence & Sendable>(
        _ body: Body,
        on stream: AgentStream,
        _ watch: NodeWatch
    ) async throws -> WireWorkspaceEntry where Body.Element == ByteBuffer {
        try await withThrowingTaskGroup(of: WireWorkspaceEntry?.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                try await Self.send(body, on: watch.watched(stream))
                watch.expectAnswer()
                return nil
            }
            group.addTask {
                // Not watched: until it has everything the node waits for somebody else.
                guard case .entry(let entry) = try await next(stream, isPatient: true) else { throw Self.unexpected }
                return entry
            }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw Self.unexpected
        }
    }

    private static func send<Body: AsyncSequence & Sendable>(
        _ body: Body,
        on stream: AgentStream
    ) async throws where Body.Element == ByteBuffer {
        var offset: UInt64 = 0
        for try await var buffer in body {
            while let slice = buffer.readSlice(length: min(buffer.readableBytes, chunkBytes)), slice.readableBytes > 0 {
                var part = WireWorkspacePart()
                part.data.offset = offset
                part.data.data = Data(slice.readableBytesView)
                part.data.sha256 = Data(SHA256.hash(data: part.data.data))
                offset += UInt64(clamping: slice.readableBytes)
                do {
                    try await stream.send(try part.serializedBytes())
                } catch let error as WireFormatError where error.code == .streamReset || error.code == .streamFinished {
                    // The answer says why.
                    return
                } catch {
                    throw WorkspaceErrors.error(error)
                }
            }
        }
        var last = WireWorkspacePart()
        last.written.size = offset
        do {
            try await stream.send(try last.serializedBytes())
        } catch {
            throw WorkspaceErrors.error(error)
        }
    }

    func makeDirectory(_ id: BotID, _ path: [UInt8], by actor: Actor) async throws -> WireWorkspaceEntry {
        let answer = try await ask(id, path) { $0.makeDirectory.makeParents = true }
        guard case .entry(let entry) = answer else { throw Self.unexpected }
        try await record("workspace.make_directory", id, path, by: actor)
        return entry
    }

    func remove(_ id: BotID, _ path: [UInt8], recursive: Bool, _ condition: Condition, by actor: Actor) async throws {
        let answer = try await ask(id, path, condition) { $0.remove.recursive = recursive }
        guard case .entry = answer else { throw Self.unexpected }
        try await record("workspace.remove", id, path, by: actor, detail: recursive ? "recursive" : nil)
    }

    private func record(_ action: String, _ id: BotID, _ path: [UInt8], by actor: Actor, detail: String? = nil)
        async throws
    {
        let shown = "\(id.rawValue):/" + String(decoding: path, as: UTF8.self)
        try await audit.record(at: clock.date(), actor: actor, action: action, target: shown, detail: detail)
    }

    // MARK: - Asking

    private static let unexpected = HubError(
        .transferFailed,
        "The node's agent gave an answer that does not fit. Upgrade it."
    )

    /// One question with one answer.
    private func ask(
        _ id: BotID,
        _ path: [UInt8],
        _ condition: Condition = Condition(),
        _ fill: (inout WireWorkspaceRequest) -> Void
    ) async throws -> WireWorkspacePart.OneOf_Kind {
        let stream = try await open(id, path, condition, fill)
        defer { stream.reset(.cancelled, "") }
        return try await next(stream)
    }

    private func open(
        _ id: BotID,
        _ path: [UInt8],
        _ condition: Condition,
        _ fill: (inout WireWorkspaceRequest) -> Void
    ) async throws -> AgentStream {
        let bot = try await bots.store.bot(id)
        var header = WireStreamHeader()
        header.workspace.botID = bot.id.rawValue
        header.workspace.path = Data(path)
        header.workspace.ifMatch = condition.tags
        header.workspace.ifAbsent = condition.isAbsent
        fill(&header.workspace)
        do {
            return try await channel.open(header, on: bot.nodeID)
        } catch {
            throw WorkspaceErrors.error(error)
        }
    }

    /// The next message that is no failure.
    private func next(_ stream: AgentStream, isPatient: Bool = false) async throws -> WireWorkspacePart.OneOf_Kind {
        switch try await receive(stream, isPatient: isPatient) {
        case .failure(let failure)?: throw WorkspaceErrors.error(failure)
        case let kind?: return kind
        case nil: throw Self.unexpected
        }
    }

    /// - Parameter isPatient: waits as long as it takes; somebody else watches.
    private func receive(
        _ stream: AgentStream,
        isPatient: Bool = false
    ) async throws -> WireWorkspacePart.OneOf_Kind? {
        do {
            let bytes = isPatient ? try await stream.receive() : try await limited(stream.receive)
            guard let bytes else { return nil }
            guard let part = try? WireWorkspacePart(bounded: bytes), let kind = part.kind else {
                stream.reset(.malformed, "not a WorkspacePart")
                throw Self.unexpected
            }
            return kind
        } catch {
            throw WorkspaceErrors.error(error)
        }
    }

    private func limited(_ body: @escaping @Sendable () async throws -> [UInt8]?) async throws -> [UInt8]? {
        try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
            defer { group.cancelAll() }
            group.addTask { try await body() }
            group.addTask {
                try await clock.sleep(clock.now() + Self.answerTimeout)
                throw HubError(
                    .agentTimeout,
                    "The node did not answer within \(Int(saturating: Self.answerTimeout.seconds)) s. Try again.",
                    retryAfter: .seconds(5)
                )
            }
            guard let first = try await group.next() else { return nil }
            return first
        }
    }
}
