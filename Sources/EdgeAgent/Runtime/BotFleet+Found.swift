import Logging
import SwiftProtobuf
import WireFormat

extension BotRecord {
    static let lostNotice =
        "its record was lost with the agent's journal, so it is not started again by itself; start it from the hub"
}

/// Bots that no record tells of, because the journal was damaged or removed: their files do, or what runs them.
extension BotFleet {
    /// Between two tries to ask what cannot be asked just now, such as a container engine that does not run.
    private static let strayPauses: ClosedRange<Duration> = .seconds(5)...(.seconds(600))

    /// Takes up what runs, so that it can be talked to, watched and stopped and is not started a second time. What does
    /// not run is told, and left for the hub to start: what its placement asked for is not known any more.
    func takeUpFound() async {
        for backend in backends.all {
            for remains in await backend.leftovers() where bots[remains.botID] == nil {
                await takeUp(remains, backend)
            }
        }
        for backend in backends.all where await !takeUpStrays(backend) {
            perform { fleet in await fleet.keepLookingForStrays(backend) }
        }
    }

    /// Takes up what has no files, either.
    ///
    /// - Returns: whether the backend could tell.
    private func takeUpStrays(_ backend: any EdgeRuntimeBackend) async -> Bool {
        guard let found = try? await backend.strays() else { return false }
        for remains in found {
            await exclusively(remains.botID) {
                guard bots[remains.botID] == nil else { return }
                await takeUp(remains, backend)
            }
        }
        return true
    }

    private func keepLookingForStrays(_ backend: any EdgeRuntimeBackend) async {
        var pause = Self.strayPauses.lowerBound
        while (try? await clock.sleep(for: pause)) != nil {
            if await takeUpStrays(backend) { return }
            pause = min(pause * 2, Self.strayPauses.upperBound)
        }
    }

    private func takeUp(_ remains: LaunchRemains, _ backend: any EdgeRuntimeBackend) async {
        let botID = remains.botID
        guard let directory = try? backend.logs(botID: botID) else { return }
        do {
            let known = try await journal.logCursor(botID)
            // Before it is adopted: what its backend brings into the log from then on was certainly not taken.
            let told = Self.replay(directory, through: known > 0 ? known : .max)
            let handle = await backend.adopt(botID: botID)
            var record = told.record
            record.name = remains.name
            record.profile = remains.profile
            record.backend = backend.kind
            record.placementEpoch = max(remains.placementEpoch, try await journal.highestEpoch(botID))
            record.chatPort = remains.chatPort
            record.isFound = true
            record.shouldRun = handle != nil
            if record.launch?.launchID != remains.launchID { record.launch = .init(launchID: remains.launchID) }
            if handle == nil { record.fail(.recordLost, BotRecord.lostNotice) }
            let bot = Bot(botID: botID, record: record)
            bots[botID] = bot
            try await save(bot)
            if known == 0, told.end > 0 {
                // What of the log became packets is not known either. Nothing is taken twice, and the hub is told.
                let lost = WirePacketGap.with { $0.reason = "journal_damaged" }
                let fields = #""next_offset":\#(told.end)"#
                let gap = record.gap(fields, lost, at: Journal.wallClock(), offset: told.end)
                try await journal.append([gap], bot: botID, logOffset: told.end)
            }
            logger.warning(
                "Found a bot without a record.",
                metadata: ["bot_id": "\(botID)", "launch_id": "\(remains.launchID)", "running": "\(handle != nil)"]
            )
            if let handle {
                attach(bot, handle)
            } else {
                perform { fleet in await fleet.resume(botID) }
            }
        } catch {
            logger.error(
                "A bot without a record cannot be taken up.",
                metadata: ["bot_id": "\(botID)", "reason": "\(error)"]
            )
        }
    }

    /// What a log tells about a bot, up to a place in it; its packets are not taken.
    private static func replay(_ directory: String, through limit: UInt64) -> (record: BotRecord, end: UInt64) {
        var record = BotRecord()
        var reader = LogReader(directory: directory, streams: [.packet, .supervisor])
        var position: UInt64 = 0
        while position < limit {
            let batch = reader.read(from: position)
            _ = record.ingest(batch.records.filter { $0.offset < limit })
            guard batch.nextOffset != position else { break }
            position = batch.nextOffset
            if batch.reachedEnd { break }
        }
        return (record, min(position, limit))
    }
}
