#!/usr/bin/env escript
%% Builds packages of the double: build.escript SOURCES ERLANG OUT VERSION…
%%
%% Each version is a release of its own kind; see `releases/0`. Packages are named and laid out as EMQX's are:
%% `OUT/emqx-4.4.16-otp25.2.3-OS-ARCH.zip`, and 4.3 with the version behind the operating system.
-mode(compile).

%% What is special about each release. `from` and `back` are the releases that its upgrade instructions lead out of and back to.
releases() ->
    #{
        "4.3.22" => #{},
        "4.4.15" => #{},
        %% The good one.
        "4.4.16" => #{from => ["4.4.15"], back => ["4.4.15"]},
        %% No way from 4.4.15.
        "4.4.19" => #{from => ["4.4.16"], back => ["4.4.16"]},
        %% Its code change fails after the point of no return.
        "4.4.20" => #{from => ["4.4.15"], back => ["4.4.15"], define => 'CODE_CHANGE_FAILS'},
        %% It goes bad a while after it was installed.
        "4.4.21" => #{from => ["4.4.15"], back => ["4.4.15"], define => 'BAD_LATER'},
        %% There is no rollback to 4.4.15 but a restart.
        "4.4.22" => #{from => ["4.4.15"], back => []},
        %% As 4.4.22, and bad after a while.
        "4.4.23" => #{from => ["4.4.15"], back => [], define => 'DEAF_LATER'},
        %% It restarts the virtual machine.
        "4.4.24" => #{from => ["4.4.15"], back => ["4.4.15"], instructions => [restart_emulator]},
        %% A script that is copied when it is made permanent is not in the package.
        "4.4.25" => #{from => ["4.4.15"], back => ["4.4.15"], without => ["bin/emqx_ctl-4.4.25"]},
        %% A module is purged softly: refused where a process is still in its old code.
        "4.4.26" => #{from => ["4.4.15"], back => ["4.4.15"],
                      instructions => [{load_module, emqx_lingering, soft_purge, soft_purge, []}]},
        %% The library of its own application is not in the package.
        "4.4.27" => #{from => ["4.4.15"], back => ["4.4.15"], without => ["lib/emqx-4.4.27"]},
        %% No upgrade instructions at all.
        "4.4.28" => #{without => ["releases/4.4.28/relup"]},
        %% Its code change out of 4.4.16 fails after the point of no return. Where 4.4.16 was itself installed hot, the virtual machine
        %% does not survive that.
        "4.4.29" => #{from => ["4.4.16"], back => ["4.4.16"], define => 'CODE_CHANGE_FAILS'}
    }.

main([Sources, Erlang, Out | Versions]) ->
    Known = releases(),
    %% Instructions are made from both releases, so those that are led out of are compiled, too.
    Needed = lists:usort(Versions ++ lists:append([maps:get(from, maps:get(V, Known), []) ++
                                                   maps:get(back, maps:get(V, Known), []) || V <- Versions])),
    [stage(Sources, Erlang, Out, V, maps:get(V, Known)) || V <- Needed],
    [relup(Out, V, maps:get(V, Known)) || V <- Versions],
    [pack(Out, V, maps:get(V, Known)) || V <- Versions].

home(Out, Version) ->
    filename:join([Out, "staging-" ++ Version, "emqx"]).

%% Everything that a fresh installation needs.
stage(Sources, Erlang, Out, Version, Kind) ->
    Home = home(Out, Version),
    Release = filename:join([Home, "releases", Version]),
    ok = filelib:ensure_path(Release),
    compile_application(Sources, filename:join([Home, "lib", "emqx-" ++ Version, "ebin"]), Version, Kind),
    compile_finder(Sources, filename:join([Home, "lib", "ekka-0.8.2", "ebin"])),
    Applications = [copy_library(Erlang, Home, Name) || Name <- libraries()]
        ++ [{"ekka", "0.8.2"}, {"emqx", Version}],
    copy_runtime(Erlang, Home),
    write(filename:join(Release, "emqx.rel"),
          io_lib:format("~p.~n", [{release, {"emqx", Version}, {erts, erts(Erlang)},
                                   [start_type(Name, Vsn) || {Name, Vsn} <- Applications]}])),
    Paths = filelib:wildcard(filename:join([Home, "lib", "*", "ebin"])),
    ok = made(systools:make_script(filename:join(Release, "emqx"),
                                   [{path, Paths}, {outdir, Release}, {variables, [{"ROOT", Home}]}, silent])),
    ok = file:rename(filename:join(Release, "emqx.boot"), filename:join(Release, "start.boot")),
    ok = file:rename(filename:join(Release, "emqx.script"), filename:join(Release, "start.script")),
    {ok, _} = file:copy(filename:join([Erlang, "bin", "no_dot_erlang.boot"]),
                        filename:join(Release, "no_dot_erlang.boot")),
    copy_scripts(Sources, Home, Version),
    write(filename:join(Release, "sys.config"), "[].\n"),
    write(filename:join([Home, "releases", "start_erl.data"]), erts(Erlang) ++ " " ++ Version),
    Directories = [{list_to_atom(Name), Vsn, "@ROOT@/lib/" ++ Name ++ "-" ++ Vsn} || {Name, Vsn} <- Applications],
    write(filename:join([Home, "releases", "RELEASES.in"]),
          io_lib:format("~p.~n", [[{release, "emqx", Version, erts(Erlang), Directories, permanent}]])),
    write(filename:join([Home, "releases", "emqx_vars"]), [
        "REL_VSN=\"", Version, "\"\nERTS_VSN=\"", erts(Erlang), "\"\n",
        "RUNNER_ETC_DIR=\"${RUNNER_ETC_DIR:-$RUNNER_ROOT_DIR/etc}\"\n",
        "RUNNER_DATA_DIR=\"${RUNNER_DATA_DIR:-$RUNNER_ROOT_DIR/data}\"\n",
        "RUNNER_LOG_DIR=\"${RUNNER_LOG_DIR:-$RUNNER_ROOT_DIR/log}\"\n",
        "RUNNER_TMP_DIR=\"${RUNNER_TMP_DIR:-/tmp}\"\n",
        "EMQX_DESCRIPTION=\"EMQX Community Edition\"\n"]),
    default_files(Home).

%% The database is started by the application, which makes its schema first.
start_type("mnesia", Version) -> {mnesia, Version, load};
start_type(Name, Version) -> {list_to_atom(Name), Version}.

libraries() ->
    ["kernel", "stdlib", "sasl", "crypto", "asn1", "public_key", "ssl", "mnesia"].

erts(Erlang) ->
    [Directory] = filelib:wildcard(filename:join(Erlang, "erts-*")),
    "erts-" ++ Version = filename:basename(Directory),
    Version.

copy_library(Erlang, Home, Name) ->
    [From] = filelib:wildcard(filename:join([Erlang, "lib", Name ++ "-[0-9]*"])),
    Base = filename:basename(From),
    Ebin = filename:join([Home, "lib", Base, "ebin"]),
    copy_all(filename:join([From, "ebin", "*.beam"]), Ebin),
    [strip(File) || File <- filelib:wildcard(filename:join(Ebin, "*.beam"))],
    copy_all(filename:join([From, "ebin", "*.app*"]), Ebin),
    copy_all(filename:join([From, "priv", "lib", "*.so"]), filename:join([Home, "lib", Base, "priv", "lib"])),
    {Name, string:slice(Base, length(Name) + 1)}.

%% What only debuggers read makes packages three times as large, and unpacking them is much of what a trial costs.
strip(File) ->
    {ok, Beam} = file:read_file(File),
    {ok, {_, Stripped}} = beam_lib:strip(Beam),
    Plain = case Stripped of
        <<16#1f, 16#8b, _/binary>> -> zlib:gunzip(Stripped);
        _ -> Stripped
    end,
    ok = file:write_file(File, Plain).

copy_runtime(Erlang, Home) ->
    Erts = "erts-" ++ erts(Erlang),
    Programs = ["beam.smp", "erlexec", "erl_child_setup", "inet_gethost", "escript", "erl", "erl_call",
                "run_erl"],
    Target = filename:join([Home, Erts, "bin"]),
    [copy_all(filename:join([Erlang, Erts, "bin", Program]), Target) || Program <- Programs],
    copy_all(filename:join([Erlang, "bin", "*.boot"]), filename:join(Home, "bin")).

copy_scripts(Sources, Home, Version) ->
    [begin
         From = filename:join([Sources, "bin", Script]),
         {ok, _} = file:copy(From, filename:join([Home, "bin", Script])),
         {ok, _} = file:copy(From, filename:join([Home, "bin", Script ++ "-" ++ Version]))
     end || Script <- ["emqx", "emqx_ctl", "cuttlefish", "nodetool", "install_upgrade.escript"]].

default_files(Home) ->
    Etc = filename:join(Home, "etc"),
    ok = filelib:ensure_path(filename:join(Home, "data")),
    ok = filelib:ensure_path(filename:join(Etc, "plugins")),
    write(filename:join(Etc, "emqx.conf"), [
        "## EMQX configuration\n\nnode.name = emqx@127.0.0.1\nnode.cookie = emqxsecretcookie\n",
        "node.data_dir = data\nnode.dist_listen_min = 6369\ncluster.autoclean = 5m\nlistener.tcp.external = 127.0.0.1:1883\n",
        "management.listener.http = 127.0.0.1:8081\n",
        "management.default_application.id = admin\nmanagement.default_application.secret = public\n"]),
    write(filename:join([Etc, "plugins", "emqx_dashboard.conf"]), "dashboard.listener.http = 127.0.0.1:18083\n"),
    write(filename:join(Etc, "acl.conf"), "{allow, all}.\n"),
    write(filename:join([Home, "data", "loaded_plugins"]),
          "{emqx_management, true}.\n{emqx_retainer, true}.\n{emqx_dashboard, true}.\n").

compile_application(Sources, Ebin, Version, Kind) ->
    ok = filelib:ensure_path(Ebin),
    Defines = [{d, 'VERSION', Version} | [{d, Name} || {define, Name} <- maps:to_list(Kind)]]
        ++ [{d, 'ENTERPRISE'} || edition() =/= ""],
    Modules = [compile_module(File, Ebin, Defines) || File <- filelib:wildcard(filename:join([Sources, "src", "*.erl"])),
                  not lists:prefix("ekka_", filename:basename(File))],
    Instructions = [{update, emqx_sys, {advanced, []}} | maps:get(instructions, Kind, [])],
    write(filename:join(Ebin, "emqx.app"), io_lib:format("~p.~n", [
        {application, emqx, [{description, "A double of EMQX"}, {vsn, Version}, {modules, Modules},
                             {registered, [emqx_sup]}, {mod, {emqx_app, []}}, {env, []},
                             {applications, [kernel, stdlib, sasl, ssl, ekka]}]}])),
    Up = [{From, Instructions} || From <- maps:get(from, Kind, [])],
    Down = [{Back, Instructions} || Back <- maps:get(back, Kind, [])],
    write(filename:join(Ebin, "emqx.appup"), io_lib:format("~p.~n", [{Version, Up, Down}])).

compile_finder(Sources, Ebin) ->
    ok = filelib:ensure_path(Ebin),
    Modules = [compile_module(File, Ebin, []) || File <- filelib:wildcard(filename:join([Sources, "src", "ekka_*.erl"]))],
    write(filename:join(Ebin, "ekka.app"), io_lib:format("~p.~n", [
        {application, ekka, [{description, "Finds nodes"}, {vsn, "0.8.2"}, {modules, Modules}, {registered, []},
                             {env, []}, {applications, [kernel, stdlib]}]}])).

compile_module(File, Ebin, Defines) ->
    case compile:file(File, [{outdir, Ebin}, deterministic, warnings_as_errors, report | Defines]) of
        {ok, Module} -> Module;
        error -> halt(1)
    end.

%% The instructions for the running node. A release that leads out of nothing has none.
relup(_Out, _Version, Kind) when not is_map_key(from, Kind), not is_map_key(without, Kind) ->
    ok;
relup(Out, Version, Kind) ->
    Rel = fun(V) -> filename:join([home(Out, V), "releases", V, "emqx"]) end,
    Froms = maps:get(from, Kind, []),
    Backs = maps:get(back, Kind, []),
    Paths = lists:append([filelib:wildcard(filename:join([home(Out, V), "lib", "*", "ebin"]))
                          || V <- lists:usort([Version | Froms ++ Backs])]),
    Release = filename:join([home(Out, Version), "releases", Version]),
    ok = made(systools:make_relup(Rel(Version), [Rel(V) || V <- Froms], [Rel(V) || V <- Backs],
                                  [{path, Paths}, {outdir, Release}, silent])).

pack(Out, Version, Kind) ->
    Home = home(Out, Version),
    [ok = remove(filename:join(Home, Name)) || Name <- maps:get(without, Kind, [])],
    Name = case Version of
        "4.3." ++ _ -> ["emqx-", edition(), os_name(), "-", Version, "-", arch(), ".zip"];
        _ -> ["emqx-", edition(), Version, "-otp", otp(), "-", os_name(), "-", arch(), ".zip"]
    end,
    Zip = filename:join(Out, lists:flatten(Name)),
    {ok, _} = zip:create(Zip, ["emqx"], [{cwd, filename:dirname(Home)}]),
    io:format("~s~n", [Zip]).

otp() ->
    {ok, Text} = file:read_file(filename:join([code:root_dir(), "releases", erlang:system_info(otp_release),
                                               "OTP_VERSION"])),
    string:trim(binary_to_list(Text)).

%% `ee-` for the enterprise edition.
edition() ->
    os:getenv("PACKAGE_EDITION", "").

os_name() ->
    os:getenv("PACKAGE_OS", "linux").

arch() ->
    os:getenv("PACKAGE_ARCH", "amd64").

remove(Path) ->
    case filelib:is_dir(Path) of
        true -> file:del_dir_r(Path);
        false -> file:delete(Path)
    end.

made(ok) -> ok;
made({ok, _, _}) -> ok;
made({ok, _, _, _}) -> ok;
made(Other) -> Other.

copy_all(Pattern, Directory) ->
    ok = filelib:ensure_path(Directory),
    [begin
         Target = filename:join(Directory, filename:basename(File)),
         {ok, _} = file:copy(File, Target),
         {ok, Information} = file:read_file_info(File),
         ok = file:write_file_info(Target, Information)
     end || File <- filelib:wildcard(Pattern)].

write(File, Text) ->
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, Text).
