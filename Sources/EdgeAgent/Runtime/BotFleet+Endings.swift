import Glibc
import Logging
import WireFormat

/// How launches end, and what follows.
extension BotFleet {
    /// Stops the running launch, if there is one, and waits until it is over.
    func endLaunch(_ bot: Bot, _ sequence: StopSequence) async throws {
        guard let handle = bot.handle else { return }
        let backend = try backend(bot)
        bot.isStopping = true
        setPhase(bot, .stopping, "")
        await backend.stop(handle, sequence: sequence)
        if await wait(sequence.total + timing.stopReserve, until: { bot.handle == nil }) {
            // Another launch beside it would be worse than none.
            guard let survivors = bot.record.survivors else { return }
            throw RuntimeError(.stopFailed, "bot \(bot.botID): \(survivors)")
        }
        logger.warning("A supervisor did not stop its bot in time and is killed.", metadata: ["bot_id": "\(bot.botID)"])
        await backend.kill(handle)
        guard await wait(timing.stopReserve, until: { bot.handle == nil }) else {
            throw RuntimeError(
                .stopFailed,
                "bot \(bot.botID) could not be stopped; what carries it out does not end (\(handle.carrier))"
            )
        }
    }

    /// Makes sure that the end of the last launch is known, also where its supervisor was killed.
    ///
    /// - Returns: whether it is known; false where the agent is stopping, or another launch has begun.
    func concludeLaunch(_ bot: Bot) async -> Bool {
        await ingestAll(bot)
        guard let launch = bot.record.launch, !launch.hasEnded else { return true }
        let backend = try? backend(bot)
        guard let event = await backend?.finishLost(botID: bot.botID, launchID: launch.launchID) else { return false }
        await ingestAll(bot)
        if bot.record.launch?.hasEnded != true {
            // The log could not take it, for instance because the disk is full.
            bot.record.end(event, at: Journal.wallClock())
        }
        return true
    }

    /// The launch is over and nobody waits for it: restart, give up, or leave it be.
    func settle(_ bot: Bot) async {
        guard bot.record.shouldRun, !bot.record.isOver, bot.record.launch?.isSettled == false else {
            return settlePhase(bot)
        }
        bot.record.launch?.isSettled = true
        let policy = (try? effectiveProfile(bot))?.restart ?? .always
        let verdict = LaunchVerdict.judge(
            &bot.record,
            policy: policy,
            backoff: backoff,
            livenessProblem: bot.livenessProblem
        )
        switch verdict {
        case .failed(let code, let reason): bot.record.fail(code, reason)
        case .completed(let reason): bot.record.completion = reason
        case .tryLater(let problem): return await tryLater(bot, RuntimeError(.launchFailed, problem))
        case .restart: break
        }
        bot.generation += 1
        let generation = bot.generation
        // What cannot be saved now is decided again at the next start of the agent.
        do {
            try await save(bot)
        } catch {
            logger.error("A bot's state cannot be saved.", metadata: ["bot_id": "\(bot.botID)", "reason": "\(error)"])
        }
        guard case .restart(let delay, let code, let reason) = verdict else { return settlePhase(bot) }
        bot.nextStartUnixMilliseconds = Journal.wallClock() + delay.milliseconds
        setPhase(bot, .backoff, reason, code)
        let botID = bot.botID
        perform { fleet in await fleet.restart(botID, generation, after: delay) }
    }

    func restart(_ botID: String, _ generation: UInt64, after delay: Duration) async {
        guard (try? await clock.sleep(for: delay)) != nil else { return }
        await exclusively(botID) {
            guard let bot = bots[botID], bot.generation == generation, bot.handle == nil else { return }
            bot.record.restartCount += 1
            await relaunch(bot)
        }
    }

    /// Leaves it at a launch that failed.
    func giveUp(_ bot: Bot, _ problem: RuntimeError) async {
        bot.record.launch?.isSettled = true
        bot.record.fail(problem.botReason, problem.message)
        // The status tells it either way.
        try? await save(bot)
        settlePhase(bot)
    }

    /// Starts again without anybody having asked just now. What may pass is tried again until it works: the bot is meant to
    /// run, and nobody is there who would be told that it does not.
    func relaunch(_ bot: Bot) async {
        guard await mayRelaunch(bot) else { return }
        // Nobody asked for this start: what it had is not silently replaced by nothing.
        if let directory = try? botDirectory(bot.botID), access(directory + "/workspace", F_OK) != 0, errno == ENOENT {
            bot.record.fail(
                .filesMissing,
                "its workspace \(directory)/workspace is gone; put it back, or start the bot from the hub to begin with an empty one"
            )
            // `try?`: as the files are gone, the next agent finds the same.
            try? await save(bot)
            return settlePhase(bot)
        }
        do {
            let profile = try effectiveProfile(bot)
            try await backend(bot).prepare(botID: bot.botID, configuration: [], profile: profile)
            try await launch(bot, profile)
        } catch {
            // What may still come to life is followed, and its end decided on then.
            guard !Task.isCancelled, bot.handle == nil else { return }
            let problem = RuntimeError.wrapping(error)
            if problem.isPassing { return await tryLater(bot, problem) }
            await giveUp(bot, problem)
        }
    }
}
