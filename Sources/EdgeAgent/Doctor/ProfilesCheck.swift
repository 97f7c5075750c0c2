import Logging
import WebSocketKitLite
import WireFormat

/// What the doctor says of the runtime profiles: what the node would tell its hub of them. Nothing that keeps a node offline.
///
/// Each is looked at as by an agent that starts now; one that runs may know older programs.
enum ProfilesCheck {
    /// Nil where the settings of bots cannot be read, which another check tells.
    static func check(_ configuration: AgentConfiguration, loop: EpollLoop) async -> DoctorCheck? {
        let quiet = Logger(label: AgentLogging.label) { _ in SwiftLogNoOpLogHandler() }
        do throws(AgentError) {
            let policy = PolicyRegistry(try PolicyFile.load(configuration.policyFile))
            let profiles = try await AgentAssembly.profiles(configuration, quiet)
            let backends = AgentAssembly.backends(
                configuration,
                // Nothing is made or opened there by asking.
                in: StateDirectory(existing: configuration.stateDirectory).path,
                holder: HolderClient(stateDirectory: configuration.stateDirectory, logger: quiet),
                policy: policy,
                loop: loop,
                executor: QueueExecutor(label: "edge-agent.doctor")
            )
            let configured = Set(configuration.profiles.map(\.name))
            var words: [String] = []
            var isWell = true
            for profile in profiles {
                let answer = await backends.probe(profile)
                words.append(
                    answer.usable
                        ? "\(answer.name) can be used (\(answer.backend): \(answer.description_p))"
                        : "\(answer.name) cannot be used: \(answer.reason)"
                )
                // One that nobody asked for is looked for, and need not be there.
                if !answer.usable, configured.contains(profile.name) { isWell = false }
            }
            return DoctorCheck(name: .profiles, status: isWell ? .ok : .failed, detail: words.joined(separator: "; "))
        } catch {
            return nil
        }
    }
}
