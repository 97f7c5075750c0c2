import Foundation
import SwiftProtobuf
import Synchronization
import WireFormat

/// Makes a bot's workspace on one node like that on another. The nodes cannot reach each other, so the hub hands on what
/// they say: each message as it comes, and never more than one of each side is held.
struct WorkspaceTransfers: Sendable {
    let channel: any AgentChannel
    var patience = NodePatience()

    struct Request: Sendable {
        var bot: BotID
        var source: NodeID
        var target: NodeID
        /// Names the staging tree on the target, 1 to 64 of `A-Z a-z 0-9 _ -`. The same name goes on with what is there:
        /// after a break, and after a first pass while the bot was running.
        var transfer: String
        /// Tell what would be done and do nothing.
        var isPreview = false
        /// The target reads every file of its staging tree again.
        var isRehash = false
        /// The target takes symbolic links wherever they lead; without that a source that has such links fails.
        var takesLinks = false
    }

    /// Runs one pass.
    ///
    /// The tree is complete and on the target's disk when it returns, and verified where `unstable` is 0; the command
    /// `InstallWorkspace` with its `digest` puts it in place.
    ///
    /// - Parameter progress: called now and then with what has been done.
    /// - Throws: `nodeOffline`, `agentTimeout` where both say nothing for too long, `forbidden`, `storageFull`, `notFound`, `hubBusy`,
    ///   `transferFailed` …; what has come stays
    ///   on the target, and the next pass with this name goes on there.
    func run(
        _ request: Request,
        progress: @escaping @Sendable (WireSyncProgress) async -> Void = { _ in }
    ) async throws -> WireSyncReport {
        var toTarget = WireStreamHeader()
        toTarget.syncTarget.botID = request.bot.rawValue
        toTarget.syncTarget.transferID = request.transfer
        toTarget.syncTarget.preview = request.isPreview
        toTarget.syncTarget.rehash = request.isRehash
        var toSource = WireStreamHeader()
        toSource.syncSource.botID = request.bot.rawValue
        toSource.syncSource.transferID = request.transfer
        toSource.syncSource.takesLinks = request.takesLinks
        let target: AgentStream
        let source: AgentStream
        do {
            target = try await channel.open(toTarget, on: request.target)
            source = try await channel.open(toSource, on: request.source)
        } catch {
            throw WorkspaceErrors.error(error)
        }
        defer {
            // After an end that both agreed on these do nothing.
            target.reset(.cancelled, "the transfer is over")
            source.reset(.cancelled, "the transfer is over")
        }
        return try await patience.wait(atMost: patience.copy) { [source, target] watch in
            try await Self.hand(from: watch.watched(source), to: watch.watched(target), progress)
        }
    }

    private static func hand(
        from source: AgentStream,
        to target: AgentStream,
        _ progress: @escaping @Sendable (WireSyncProgress) async -> Void
    ) async throws -> WireSyncReport {
        try await withThrowingTaskGroup(of: WireSyncReport?.self) { group in
            defer { group.cancelAll() }
            group.addTask {
                try await Self.handOn(from: source, to: target)
                return nil
            }
            group.addTask { try await Self.handBack(from: target, to: source, progress) }
            while let result = try await group.next() {
                if let result { return result }
            }
            throw HubError(.transferFailed, "The target ended the transfer without a report. Try again.")
        }
    }

    /// - Throws: what became of the source, where that is why nothing more comes: what the target makes of silence is no reason to
    ///   anybody.
    private static func handOn(from source: AgentStream, to target: AgentStream) async throws {
        while true {
            let message: [UInt8]?
            do {
                message = try await source.receive()
            } catch {
                throw WorkspaceErrors.error(error)
            }
            guard let message else { return target.finish() }
            do {
                try await target.send(message)
            } catch let error as WireFormatError where error.code == .streamReset {
                // The target's own last message says why.
                return target.finish()
            } catch {
                throw WorkspaceErrors.error(error)
            }
        }
    }

    /// What the target says to the hub ends here, everything else goes to the source.
    private static func handBack(
        from target: AgentStream,
        to source: AgentStream,
        _ progress: @Sendable (WireSyncProgress) async -> Void
    ) async throws -> WireSyncReport {
        do {
            while let bytes = try await target.receive() {
                switch try? WireSyncMessage(bounded: bytes).body {
                case .report(let report)?:
                    source.finish()
                    return report
                case .progress(let figures)?: await progress(figures)
                case .failure(let failure)?:
                    // `try?`: it may be the source that is gone.
                    try? await source.send(bytes)
                    source.finish()
                    throw WorkspaceErrors.error(
                        WireWorkspaceFailure.with {
                            $0.code = failure.code
                            $0.message = failure.message
                        }
                    )
                default: try await source.send(bytes)
                }
            }
        } catch let error as HubError {
            throw error
        } catch {
            throw WorkspaceErrors.error(error)
        }
        throw HubError(.transferFailed, "The target ended the transfer without a report. Try again.")
    }
}

extension WireSyncReport {
    /// What the source's agent has left out and ought to have carried; one of before did so without a word.
    var lost: [WireSyncSkipped] { skipped.filter { !$0.isSpecial } }
}

extension [WireSyncSkipped] {
    /// The first of them, for a sentence.
    func named(of count: UInt64) -> String {
        let shown = prefix(20).map { WireBounds.cut(String(decoding: $0.path, as: UTF8.self), to: 120) }
        let rest = count.clampedSubtracting(UInt64(clamping: shown.count))
        return shown.joined(separator: ", ") + (rest > 0 ? ", and \(rest) more" : "")
    }
}
