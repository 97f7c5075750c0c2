import Foundation
import Glibc
import Logging
import Synchronization
import WireFormat

/// Takes snapshots of workspaces, keeps them within their bounds, and gives them to nodes.
struct SnapshotOperations: Sendable {
    /// A file that is written to while it is read is tried again.
    private static let tries = 3

    let database: HubDatabase
    let channel: any AgentChannel
    /// Holds one file a snapshot.
    let directory: String
    let bounds: SnapshotBounds
    let clock: HubClock
    let logger: Logger
    let patience: NodePatience
    let places = SnapshotPlaces()
    private let underWay = UnderWay()

    private final class UnderWay: Sendable {
        /// Those whose file is there, or about to be, and whose row is not yet.
        let snapshots = Mutex<Set<SnapshotID>>([])
    }

    init(
        database: HubDatabase,
        channel: any AgentChannel,
        directory: String,
        bounds: SnapshotBounds,
        clock: HubClock,
        patience: NodePatience = NodePatience(),
        logger: Logger
    ) {
        self.database = database
        self.channel = channel
        self.directory = directory
        self.bounds = bounds
        self.clock = clock
        self.patience = patience
        self.logger = logger
    }

    var store: SnapshotStore { SnapshotStore(database: database) }

    private func path(_ id: SnapshotID) -> String { directory + "/" + id.rawValue }

    // MARK: - Taking

    /// How many are kept of a bot; 0 for none but those that are asked for. Throws `notFound`.
    func kept(_ bot: BotID) async throws -> Int {
        try await store.kept(bot) ?? bounds.keptPerBot
    }

    func setKept(_ bot: BotID, _ count: Int?, by actor: Actor) async throws {
        guard count.map({ (0...SnapshotBounds.mostPerBot).contains($0) }) ?? true else {
            throw HubError(.invalidRequest, "`kept` must be a number from 0 to \(SnapshotBounds.mostPerBot), or null.")
        }
        try await store.setKept(bot, count, at: clock.date(), by: actor)
        try await prune(bot)
    }

    /// Takes a snapshot of what the bot has now, and gives up older ones beyond the bounds.
    ///
    /// Throws `nodeOffline`, `agentTimeout` where it says nothing, `conflict` where files do not stay as they are, `storageFull`,
    /// `hubBusy`, `notFound`.
    ///
    /// - Parameter isPatient: waits for a place.
    func take(
        _ bot: BotID,
        on node: NodeID,
        before deployment: DeploymentID? = nil,
        isPatient: Bool = false,
        by actor: Actor
    ) async throws -> Snapshot {
        try await enter(bot, node, isPatient)
        defer { places.leave(bot) }
        var triesLeft = Self.tries
        while true {
            triesLeft -= 1
            do {
                let snapshot = try await record(bot, node, deployment, actor)
                try await prune(bot)
                try await makeRoom()
                return snapshot
            } catch let error as HubError where error.code == .conflict && triesLeft > 0 {
                continue
            }
        }
    }

    private func enter(_ bot: BotID, _ node: NodeID, _ isPatient: Bool) async throws {
        while true {
            let ticket = places.freed.ticket
            do throws(SnapshotPlaces.Refusal) {
                return try places.enter(bot, on: node, isPatient: isPatient)
            } catch {
                guard isPatient, error != .bot else { throw Self.busy(error) }
            }
            try await places.freed.wait(after: ticket)
        }
    }

    private static func busy(_ refusal: SnapshotPlaces.Refusal) -> HubError {
        let words =
            switch refusal {
            case .bot: "A snapshot of the bot is being taken."
            case .node:
                "Snapshots of other bots of the node are being taken, as many as it may have of \(SnapshotPlaces.total) at once."
            case .full: "\(SnapshotPlaces.total) snapshots of other bots are being taken."
            }
        return HubError(.hubBusy, "\(words) Try again.", retryAfter: .seconds(5))
    }

    private func record(
        _ bot: BotID,
        _ node: NodeID,
        _ deployment: DeploymentID?,
        _ actor: Actor
    ) async throws -> Snapshot {
        let date = clock.date()
        let id = SnapshotID.make(at: date)
        let stored = try await store.storedBytes()
        do throws(HubFolder.Failure) {
            let (files, name) = HubFolder.split(directory)
            try files.makeFolder(name)
        } catch {
            throw HubError(.storageUnavailable, "\(directory) cannot be used: \(error.reason).")
        }
        var header = WireStreamHeader()
        header.syncSource.botID = bot.rawValue
        header.syncSource.transferID = id.rawValue
        header.syncSource.takesLinks = true
        let stream: AgentStream
        do {
            stream = try await channel.open(header, on: node)
        } catch {
            throw WorkspaceErrors.error(error)
        }
        defer { stream.reset(.cancelled, "the snapshot is over") }
        underWay.snapshots.withLock { _ = $0.insert(id) }
        defer { underWay.snapshots.withLock { _ = $0.remove(id) } }
        let writer = try await SnapshotFile.Writer(path(id))
        do {
            let limit = bounds.totalBytes.clampedSubtracting(stored)
            let result = try await patience.wait(atMost: patience.snapshot) { watch in
                let source = watch.watched(stream)
                return try await SnapshotRecorder(source, to: writer, limit: limit) { watch.note() }.run()
            }
            stream.finish()
            try await writer.commit()
            let snapshot = Snapshot(
                id: id,
                bot: bot,
                node: node,
                deployment: deployment,
                createdAt: date,
                actor: actor.name,
                entries: result.entries,
                totalBytes: result.totalBytes,
                storedBytes: result.storedBytes,
                digest: result.digest
            )
            try await store.insert(snapshot)
            return snapshot
        } catch {
            writer.discard()
            remove(id.rawValue)
            throw WorkspaceErrors.error(error)
        }
    }

    // MARK: - Giving up

    /// Throws `notFound`, and `deploymentRunning` where a deployment needs it.
    func delete(_ id: SnapshotID, by actor: Actor) async throws {
        let snapshot = try await store.snapshot(id)
        if let deployment = try await forget(snapshot) {
            throw HubError(
                .deploymentRunning,
                "Snapshot \(id) is needed by deployment \(deployment), which is under way. Wait for its end, or cancel it with "
                    + "POST /api/deployments/\(deployment)/cancel."
            )
        }
        let date = clock.date()
        try await database.write { db in
            try AuditStore.append(
                db,
                at: date,
                actor: actor,
                action: "snapshot.delete",
                target: snapshot.bot.rawValue,
                detail: id.rawValue
            )
        }
    }

    /// Gives one up, unless a deployment under way needs it. First its file loses its name, then the row goes, then the file: so
    /// a start after an end in the middle knows what was to be deleted from what nobody has given up.
    ///
    /// - Returns: the deployment that needs it; it stays then.
    private func forget(_ snapshot: Snapshot) async throws -> DeploymentID? {
        if let deployment = try await store.deployment(needing: snapshot.id) { return deployment }
        underWay.snapshots.withLock { _ = $0.insert(snapshot.id) }
        defer { underWay.snapshots.withLock { _ = $0.remove(snapshot.id) } }
        let (name, leaving) = (snapshot.id.rawValue, SnapshotFile.leaving(snapshot.id.rawValue))
        move(name, to: leaving)
        do {
            if let deployment = try await store.release(snapshot.id) {
                move(leaving, to: name)
                return deployment
            }
        } catch {
            move(leaving, to: name)
            throw error
        }
        remove(leaving)
        return nil
    }

    private func remove(_ file: String) {
        let (files, name) = SnapshotFile.place(directory + "/" + file)
        // `try?`: what stays is found at the next start.
        try? files.remove(name)
    }

    private func move(_ file: String, to other: String) {
        let (files, folder) = HubFolder.split(directory)
        // `try?`: one that is not there has nothing to lose.
        try? files.rename("\(folder)/\(file)", to: "\(folder)/\(other)")
    }

    /// Keeps as many as the bot's number says, and what a deployment under way needs besides. One that was asked for is kept
    /// also where the number is 0.
    func prune(_ bot: BotID) async throws {
        let kept = max(1, try await kept(bot))
        for snapshot in try await store.list(bot).dropFirst(kept) { _ = try await forget(snapshot) }
    }

    /// Gives up those that are older, as far as the hub is set to.
    ///
    /// - Returns: how many, and the bytes they took.
    func expire(before date: Date) async throws -> (count: Int64, bytes: Int64) {
        strays.expire(before: date)
        var gone: (count: Int64, bytes: Int64) = (0, 0)
        for snapshot in try await store.list(before: date, limit: 100) where try await forget(snapshot) == nil {
            gone.count += 1
            gone.bytes = gone.bytes.clampedAdding(Int64(clamping: snapshot.storedBytes))
        }
        return gone
    }

    /// Removes a file whose row goes with its bot: the row last, by which it is found again.
    func discardFile(_ id: SnapshotID) { remove(id.rawValue) }

    // MARK: - What does not fit

    /// Files that the database does not know.
    var strays: SnapshotStrays { SnapshotStrays(directory: directory, logger: logger) }

    /// Brings files and rows together again after an end in the middle, or after a database was put back that is older or newer
    /// than the files.
    ///
    /// Operators are served already, and their snapshots are none of what was left. So rows without a file are looked for
    /// among those that were there before the folder was read, and files without a row among those that were there before
    /// the rows were read, and are not being written or given up.
    func tidy() async throws {
        let rowsBefore = try await store.all()
        let (folder, name) = HubFolder.split(directory)
        // A folder that cannot be read is no reason to forget what it holds.
        let files = Set(try folder.names(in: name))
        let busy = underWay.snapshots.withLock { Set($0.map(\.rawValue)) }
        let rows = Set(try await store.all().map(\.id.rawValue))
        var unknown: [String] = []
        for file in files where file != SnapshotStrays.folder && !busy.contains(SnapshotFile.name(of: file)) {
            let id = SnapshotFile.name(of: file)
            switch file {
            case SnapshotFile.unfinished(id): remove(file)
            // What was to be given up, unless its row shows that it was not.
            case SnapshotFile.leaving(id) where !rows.contains(id) || files.contains(id): remove(file)
            case SnapshotFile.leaving(id): move(file, to: id)
            case _ where !rows.contains(id): unknown.append(file)
            default: continue
            }
        }
        strays.take(unknown)
        var missing: [SnapshotID] = []
        for row in rowsBefore
        where !files.contains(row.id.rawValue) && !files.contains(SnapshotFile.leaving(row.id.rawValue)) {
            if strays.giveBack(row.id.rawValue) { continue }
            missing.append(row.id)
            try await store.delete(row.id)
        }
        if !missing.isEmpty {
            logger.warning(
                "snapshots are given up whose files are missing",
                metadata: ["count": "\(missing.count)", "first": "\(missing.prefix(5).map(\.rawValue))"]
            )
        }
        try await makeRoom()
    }

    /// Snapshots come before files that nobody knows.
    private func makeRoom() async throws {
        strays.shrink(to: bounds.totalBytes.clampedSubtracting(try await store.storedBytes()))
    }

    // MARK: - Giving back

    /// Makes the staging tree of a transfer on a node like the snapshot; `InstallWorkspace` puts it in place.
    func replay(
        _ id: SnapshotID,
        to node: NodeID,
        transfer: String,
        progress: @escaping @Sendable (WireSyncProgress) async -> Void
    ) async throws -> WireSyncReport {
        let snapshot = try await store.snapshot(id)
        do {
            let reader = try await SnapshotFile.Reader(path(id))
            var header = WireStreamHeader()
            header.syncTarget.botID = snapshot.bot.rawValue
            header.syncTarget.transferID = transfer
            let stream = try await channel.open(header, on: node)
            defer { stream.reset(.cancelled, "the transfer is over") }
            let report = try await patience.wait(atMost: patience.copy) { watch in
                var replay = SnapshotReplay(reader, to: watch.watched(stream))
                return try await replay.run(progress: progress)
            }
            guard report.unstable == 0, report.digest == snapshot.digest else {
                throw HubError(.storageCorrupt, "Snapshot \(id) is not what it was when it was taken.")
            }
            return report
        } catch is SnapshotFile.Damaged {
            throw HubError(.storageCorrupt, "Snapshot \(id) is damaged on the hub's disk.")
        } catch {
            throw WorkspaceErrors.error(error)
        }
    }
}
