import Glibc
import WireFormat

/// Launches of which the agent's records know nothing any more: the bot's files tell of them, and where those are gone as
/// well, the labels of the container.
extension DockerRuntimeBackend {
    func leftovers() -> [LaunchRemains] { LaunchRemains.written(beneath: root, by: kind) }

    func strays() async throws(RuntimeError) -> [LaunchRemains] {
        let listed = try await asking { () async throws(EngineError) in
            try await engine.containers(labels: [ContainerLabels.instance: instance])
        }
        var remains: [LaunchRemains] = []
        for container in listed where container.hasRun {
            guard let botID = container.labels?[ContainerLabels.bot], BotDirectory.isValid(botID),
                let plan = try await plan(of: container)
            else { continue }
            remains.append(LaunchRemains(botID: botID, plan))
        }
        return remains
    }

    /// The launch whose end is not known: from the agent's own files, else from the labels of a container.
    func unfinished(_ directory: BotDirectory) async -> (ContainerRecord, LaunchPlan)? {
        let known = directory.readPlan()
        if let record = ContainerRecord.read(directory), let known, known.launchID == record.launchID {
            return (record, known)
        }
        // One that has ended still has its output and its status to tell.
        guard let listed = try? await containers(of: directory.botID).filter(\.hasRun),
            let found = listed.first(where: { $0.state == "running" }) ?? listed.first,
            var plan = try? await plan(of: found)
        else { return nil }
        if let known, known.launchID == plan.launchID { plan = known }
        let isHost = plan.environment["BOT_CHAT_HOST"] == "127.0.0.1"
        let record = ContainerRecord(
            launchID: plan.launchID,
            name: found.id,
            containerID: found.id,
            logOffset: 0,
            network: isHost ? "host" : "bridge"
        )
        // The directory may be gone with the rest; without the plan no message could be delivered.
        guard (try? directory.make()) != nil,
            (try? Files.replace(directory.launch, with: plan.encoded, mode: 0o600)) != nil,
            (try? record.write(directory)) != nil
        else { return nil }
        return (record, plan)
    }

    /// As much of the plan as the container itself holds; nil where it is none of a launch.
    private func plan(of container: EngineModels.Listed) async throws(RuntimeError) -> LaunchPlan? {
        guard let launchID = container.labels?[ContainerLabels.launch] else { return nil }
        let inspected: EngineModels.Container
        do throws(EngineError) {
            inspected = try await engine.inspect(container.id)
        } catch {
            // Removed since it was listed.
            guard !error.isNotFound else { return nil }
            throw error.asRuntimeError
        }
        var plan = LaunchPlan()
        plan.launchID = launchID
        plan.backend = kind
        plan.profile = container.labels?[ContainerLabels.profile] ?? ""
        plan.placementEpoch = container.labels?[ContainerLabels.epoch].flatMap { UInt64(decimal: $0) } ?? 0
        (plan.executable, plan.arguments) = (container.id, [container.id])
        for variable in inspected.config?.env ?? [] {
            let parts = variable.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { plan.environment[String(parts[0])] = String(parts[1]) }
        }
        plan.packetPrefix = plan.environment["BOT_PACKET_PREFIX", default: ""]
        return plan
    }
}

extension EngineModels.Listed {
    /// Whether it ever ran; one that was only made has nothing to tell.
    fileprivate var hasRun: Bool { state != "created" }
}
