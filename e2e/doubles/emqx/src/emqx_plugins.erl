%% The plugins, as records of EMQX's shape: `{plugin, Name, Dir, Descr, Vendor, Active, Info, Type}`.
-module(emqx_plugins).

-export([list/0]).

list() ->
    [{plugin, Name, undefined, emqx_sys:brand() ++ Description, undefined, active(Name), #{}, feature}
     || {Name, Description} <- [{emqx_dashboard, " Web Dashboard"}, {emqx_management, " Management API and CLI"},
                                {emqx_retainer, " Retainer"}]].

%% A plugin is off where a test has switched it off, or where the data directory that the node came up with does not list it.
active(Name) ->
    emqx_double:setting("inactive_plugin", "") =/= atom_to_list(Name) andalso loaded(Name).

loaded(Name) ->
    {ok, Directory} = application:get_env(emqx, data_dir),
    case file:read_file(filename:join(Directory, "loaded_plugins")) of
        {ok, Text} -> binary:match(Text, atom_to_binary(Name)) =/= nomatch;
        {error, _} -> false
    end.
