import WireFormat

/// When a bot counts as ready, and as well.
extension BotFleet {
    func watchReadiness(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID], let profile = try? effectiveProfile(bot) else { return }
        let limit = profile.speaksPackets ? profile.readyTimeout : profile.settleTime
        let isOver = await wait(limit) { bot.handle != handle || bot.isReady }
        guard !isOver, !Task.isCancelled, bot.handle == handle else { return }
        releaseSlot(bot)
        guard !bot.isStopping else { return }
        if profile.speaksPackets {
            let missing = Self.missing(bot.record.launch?.ready)
            setPhase(bot, .starting, "not ready after \(limit): \(missing); see its log", .notReady)
        } else {
            bot.isReady = true
            setPhase(bot, .ready, "")
        }
    }

    /// What a bot that is not ready lacks, by what its last `ready` said.
    private static func missing(_ ready: BotRecord.Ready?) -> String {
        guard let ready else { return "it wrote no ready packet" }
        guard let url = ready.chatURL else { return "its /healthz does not answer 200" }
        return
            "/healthz does not answer 200 beside its chat_url \"\(url.prefix(200))\", which counts only where it leads to 127.0.0.1"
    }

    /// The bot says that it is ready: believe it once its chat endpoint answers.
    func checkHealth(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID] else { return }
        while bot.handle == handle, !bot.isReady, !bot.isStopping, !Task.isCancelled {
            // A bot that takes its messages on standard input has no endpoint to ask.
            var isWell = (try? effectiveProfile(bot))?.delivery == .stdin
            if !isWell {
                let url = bot.record.launch?.ready?.chatURL
                isWell = await (try? backend(bot))?.isHealthy(handle, chatURL: url) == true
            }
            if isWell {
                guard bot.handle == handle, !bot.isStopping else { return }
                bot.isReady = true
                releaseSlot(bot)
                setPhase(bot, .ready, "")
                perform { fleet in await fleet.watchLiveness(botID, handle) }
                return
            }
            // Cancelled: the loop ends by its condition.
            try? await clock.sleep(for: timing.healthInterval)
        }
    }

    /// Asks a bot that is ready again and again whether it is well, until the launch ends or is not ready any more.
    ///
    /// One that does not answer several times in a row is unwell: messages wait, and where its profile says so the launch
    /// is ended. One that answers again is ready again.
    func watchLiveness(_ botID: String, _ handle: LaunchHandle) async {
        guard let bot = bots[botID], let profile = try? effectiveProfile(bot), profile.speaksPackets,
            profile.delivery == .http, let check = profile.liveness
        else { return }
        var failures = 0
        while (try? await clock.sleep(for: check.interval)) != nil {
            guard bot.handle == handle, !bot.isStopping, bot.isReady else { return }
            let isWell =
                await (try? backend(bot))?.isHealthy(handle, chatURL: bot.record.launch?.ready?.chatURL) == true
            guard bot.handle == handle, !bot.isStopping, bot.isReady else { return }
            failures = isWell ? 0 : failures + 1
            guard failures >= check.failures else { continue }
            bot.isReady = false
            let problem = "its /healthz did not answer 200 for \(failures) times in a row"
            setPhase(bot, .starting, "unwell: \(problem)", .unwell)
            guard check.restarts else { return await checkHealth(botID, handle) }
            return await endUnwell(botID, handle, problem)
        }
    }

    private func endUnwell(_ botID: String, _ handle: LaunchHandle, _ problem: String) async {
        await exclusively(botID) {
            guard let bot = bots[botID], bot.handle == handle else { return }
            bot.livenessProblem = "was stopped by the agent, because \(problem)"
            // A failure is in the status; there is nobody to tell.
            _ = await attempt { try await self.endLaunch(bot, self.stopSequence(bot)) }
        }
    }
}
