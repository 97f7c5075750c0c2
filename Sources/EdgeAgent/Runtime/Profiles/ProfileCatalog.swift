/// The profiles of this node: those from the configuration, and `default`, which may be found instead of configured.
struct ProfileCatalog: Sendable {
    static let defaultName = "default"

    /// From the configuration.
    var configured: [RuntimeProfile]
    /// `EDGE_NATIVE_COMMAND`.
    var nativeCommand: String?
    var search: LauncherSearch

    /// Puts the profiles together. Asks programs for their version, which takes seconds on a slow machine.
    ///
    /// - Throws: `AgentError.configuration` for a launch command that cannot be read, and a `default` that is given twice.
    func profiles() async throws(AgentError) -> [RuntimeProfile] {
        var profiles: [RuntimeProfile] = []
        let hasDefault = configured.contains { $0.name == Self.defaultName }
        if let nativeCommand {
            guard !hasDefault else {
                throw AgentError(
                    .configuration,
                    "the profile \"\(Self.defaultName)\" is given twice: by EDGE_NATIVE_COMMAND and among the profiles; "
                        + "take one of them out"
                )
            }
            do throws(RuntimeError) {
                let command = try CommandTemplate(parsing: nativeCommand)
                profiles.append(RuntimeProfile(name: Self.defaultName, command: command))
            } catch {
                throw AgentError(.configuration, "EDGE_NATIVE_COMMAND: \(error.message)")
            }
        } else if !hasDefault {
            profiles.append(await searched())
        }
        var completed: [RuntimeProfile] = []
        for profile in profiles + configured { completed.append(await complete(profile)) }
        return completed
    }

    /// The profile of the nanobot that is installed here; where none is, one that says so.
    private func searched() async -> RuntimeProfile {
        switch await search.run() {
        case .found(let found):
            var profile = RuntimeProfile(name: Self.defaultName, command: LauncherSearch.command(found.program))
            profile.engine = "nanobot"
            profile.engineVersion = found.version.text
            profile.environment = found.environment
            return profile
        case .nothing(let reason):
            var profile = RuntimeProfile(name: Self.defaultName, command: CommandTemplate(words: []))
            profile.problem = reason
            return profile
        }
    }

    /// A nanobot that somebody named gets what one that was found gets; what the profile says itself wins.
    private func complete(_ profile: RuntimeProfile) async -> RuntimeProfile {
        guard profile.engineVersion.isEmpty, profile.problem == nil, let program = profile.command.words.first,
            program.hasPrefix("/"), program.hasSuffix("/nanobot")
        else { return profile }
        let installation = NanobotInstallation(program: program)
        guard installation.version != nil else { return profile }
        var completed = profile
        completed.problem = installation.problem
        completed.environment = installation.environment.merging(profile.environment) { _, own in own }
        completed.engine = profile.engine.isEmpty ? "nanobot" : profile.engine
        // Where it does not answer, the files' word stands.
        let asked = try? await LauncherSearch.version(of: program, path: search.path, home: search.home)
        completed.engineVersion = (asked ?? installation.version)?.text ?? ""
        return completed
    }
}
