import WireFormat

/// What a launch needs and takes time to come by: an image, and an engine that answers.
extension BotFleet {
    /// Whether a bot could be started so. Fetches nothing, but may ask an image's registry.
    func check(_ request: WireCheckLaunch) async throws(RuntimeError) {
        let profile = try profile(request.runtimeProfile)
        let overrides = ProfileOverrides(image: request.image)
        try await requireUsable(profile, with: overrides)
        try await backends.require(profile.backend).checkProvision(overrides.applied(to: profile))
    }

    /// - Throws: `invalidSpecification`, `profileNotUsable`, `refusedByPolicy`.
    func requireUsable(_ profile: RuntimeProfile, with overrides: ProfileOverrides) async throws(RuntimeError) {
        try overrides.checkFit(profile)
        let answer = await probe(overrides.applied(to: profile))
        guard answer.usable else { throw RuntimeError(.profileNotUsable, answer.reason) }
    }

    /// The profile that a bot is to be started by.
    ///
    /// - Throws: `profileNotFound`, and what `requireUsable` throws.
    func usableProfile(of specification: WireBotSpecification) async throws(RuntimeError) -> RuntimeProfile {
        let profile = try profile(specification.runtimeProfile)
        try await requireUsable(profile, with: try ProfileOverrides(specification))
        return profile
    }

    /// Asked before a bot is stopped in order to be started again: what would be refused then is refused while it still runs.
    func requireStartable(_ specification: WireBotSpecification) async throws(RuntimeError) {
        let overrides = try ProfileOverrides(specification)
        let profile = try await usableProfile(of: specification)
        _ = try admit(specification, overrides)
        guard bots[specification.botID] != nil else { return }
        try checkCode(specification.botID, overrides.applied(to: profile))
    }

    /// Has the backend fetch what the launch needs. Given up where the bot is to be stopped meanwhile.
    func provision(_ bot: Bot, _ profile: RuntimeProfile) async throws(RuntimeError) {
        let backend = try backend(bot)
        let botID = bot.botID
        bot.isProvisionUnwanted = false
        setPhase(bot, .starting, "")
        let result = await withTaskGroup(of: Result<Void, RuntimeError>?.self) { group in
            group.addTask {
                do throws(RuntimeError) {
                    return .success(try await backend.provision(botID: botID, profile: profile))
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                await self.waitForGivingUp(botID)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
        guard let result else {
            throw RuntimeError(.launchFailed, "the start was given up because the bot is to be stopped")
        }
        try result.get()
    }

    private func waitForGivingUp(_ botID: String) async {
        await wait(nil) { self.bots[botID]?.isProvisionUnwanted ?? true }
    }

    /// Somebody wants the bot stopped and shall not have to wait for an image.
    func giveUpProvision(_ botID: String) {
        bots[botID]?.isProvisionUnwanted = true
        changed.wake()
    }

    /// A start that nobody asked for just now failed for a reason that passes by itself: it is tried again until it works.
    func tryLater(_ bot: Bot, _ problem: RuntimeError) async {
        bot.record.launch?.isSettled = true
        bot.record.clearOutcome()
        let (first, longest) = (timing.passingWait.lowerBound, timing.passingWait.upperBound)
        let delay = min(first * (1 << min(bot.passingFailures, 8)), longest)
        bot.passingFailures += 1
        bot.generation += 1
        let (botID, generation) = (bot.botID, bot.generation)
        // The status tells it either way.
        try? await save(bot)
        bot.nextStartUnixMilliseconds = Journal.wallClock() + delay.milliseconds
        setPhase(bot, .backoff, "\(problem.message); trying again in \(delay)", problem.botReason)
        perform { fleet in await fleet.restart(botID, generation, after: delay) }
    }

    /// What the backend has to say about the bot right now.
    func note(_ bot: Bot) -> String? {
        (try? backend(bot))?.notes?[bot.botID]
    }

    /// Lets a changed note count as a change of the bots, until cancelled.
    func passOn(_ notes: LaunchNotes) async {
        var ticket = notes.changed.ticket
        while (try? await notes.changed.wait(after: ticket)) != nil {
            ticket = notes.changed.ticket
            changed.wake()
        }
    }
}
